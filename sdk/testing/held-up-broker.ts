import { BUCKET, bucketStream } from "../../libs/contract/streams.ts";
import type { Broker } from "../../libs/streams/broker.ts";
import type { Gate } from "./gate.ts";

export interface BrokerCall {
  readonly name: keyof Broker;
  /** The stream that it is about, and its subject or sequence. */
  readonly stream: string | undefined;
  readonly of: string | number | undefined;
}

/** A write of a claim. */
export const isClaimWrite = ({ name, stream }: BrokerCall): boolean =>
  name === "publish" && stream === bucketStream(BUCKET.claims);

/** A broker of whose calls some wait at a gate: before they are sent, or with their answers, as in a process that reads nothing for a while. */
export function heldUp(options: {
  readonly gate: Gate;
  readonly when: "before" | "after";
  readonly isHeld: (call: BrokerCall) => boolean;
}): (broker: Broker) => Broker {
  const { gate, when, isHeld } = options;
  return (broker) =>
    new Proxy(broker, {
      get(target, name: keyof Broker) {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== "function") return member;
        return (...args: readonly unknown[]): unknown => {
          const call = (): unknown => Reflect.apply(member, target, args);
          if (!isHeld(callOf(name, args))) return call();
          if (when === "before") return gate.pass().then(call);
          return Promise.resolve(call()).then((answer) => gate.pass().then(() => answer));
        };
      },
    });
}

/** A broker of whose calls some get no answer, as of a JetStream without a quorum. */
export function silent(isSilent: (call: BrokerCall) => boolean): (broker: Broker) => Broker {
  return (broker) =>
    new Proxy(broker, {
      get(target, name: keyof Broker) {
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== "function") return member;
        return (...args: readonly unknown[]): unknown =>
          isSilent(callOf(name, args)) ? Promise.reject(new Error("no answer")) : Reflect.apply(member, target, args);
      },
    });
}

function callOf(name: keyof Broker, [first, second]: readonly unknown[]): BrokerCall {
  if (typeof first !== "object" || first === null) return { name, stream: text(first), of: text(second) ?? number(second) };
  const { stream, subject } = first as { readonly stream?: unknown; readonly subject?: unknown };
  return { name, stream: text(stream), of: text(subject) };
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
const number = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);
