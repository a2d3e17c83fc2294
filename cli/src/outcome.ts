import { DeliverPolicy, jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { assertNever, MillraceError } from "../../libs/contract/errors.ts";
import { EVENT_KINDS, SOURCE_HEADER } from "../../libs/contract/event.ts";
import type { TimelineEntry } from "../../libs/contract/requests.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { RecordStore } from "../../libs/streams/records.ts";

const kind = z.enum(EVENT_KINDS);
const eventBody = z.object({
  time: z.string(),
  data: z.object({
    reason: z.string().optional(),
    class: z.string().optional(),
    code: z.string().optional(),
    result: z.string().optional(),
    node: z.string().optional(),
    exitCode: z.number().optional(),
    next: z.object({ notBefore: z.string() }).optional(),
  }),
});

/** What is shown of an event, and what decides whether it ends the wait. */
export interface SeenEvent extends TimelineEntry {
  readonly source: string;
  readonly code?: string | undefined;
  readonly result?: string | undefined;
}

export interface Outcome {
  readonly state: "succeeded" | "dead" | "rejected" | "cancelled";
  readonly detail: string;
}

/** Follows one publish to its end. Opened before the publish, so that nothing can happen unseen. */
export class OutcomeWatch {
  readonly #connection: NatsConnection;
  readonly #queue: string;
  readonly #hash: string | undefined;

  constructor(options: { readonly connection: NatsConnection; readonly queue: string; readonly hash: string | undefined }) {
    this.#connection = options.connection;
    this.#queue = options.queue;
    this.#hash = options.hash;
  }

  /**
   * `publish` stores the message and returns the beginning of its source (`JOBS-<seq>-`). Its events are those of its job, and those under its
   * own source when it is refused (rule D11).
   */
  async follow(publish: () => Promise<string>, signal: AbortSignal, onEvent: (event: SeenEvent) => void): Promise<Outcome> {
    const filters = [
      `events.${this.#queue}.*.0.rejected`,
      ...(this.#hash === undefined ? [] : [`events.${this.#queue}.${this.#hash}.>`]),
    ];
    const consumer = await jetstream(this.#connection).consumers.get(STREAM.events, {
      filter_subjects: filters,
      deliver_policy: DeliverPolicy.New,
    });
    const messages = await consumer.consume();
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    const source = await publish();
    for await (const message of messages) {
      const event = seenEvent(message.subject, message.headers?.get(SOURCE_HEADER) ?? "", message.json());
      if (event === undefined) continue;
      const outcome = await this.#judge(event, source);
      if (event.kind !== "rejected" || outcome !== undefined) onEvent(event);
      if (outcome !== undefined) return outcome;
    }
    throw new MillraceError("WAIT_TIMEOUT", "no outcome in the time given; the job goes on: see millrace get");
  }

  async #judge(event: SeenEvent, source: string): Promise<Outcome | undefined> {
    switch (event.kind) {
      case "succeeded":
        return { state: "succeeded", detail: event.result ?? "" };
      case "dead":
        return { state: "dead", detail: [event.class, event.reason].filter((part) => part !== undefined).join(": ") };
      case "cancelled":
        return { state: "cancelled", detail: event.reason ?? "" };
      case "rejected":
        return event.source.startsWith(source) ? { state: "rejected", detail: `${event.code}: ${event.reason}` } : undefined;
      case "duplicate":
        return event.source.startsWith(source) ? this.#earlierOutcome() : undefined;
      case "received":
      case "created":
      case "started":
      case "blocked":
      case "retrying":
        return undefined;
      default:
        return assertNever(event.kind);
    }
  }

  /** The job of this id existed already; it may have ended long ago. */
  async #earlierOutcome(): Promise<Outcome | undefined> {
    if (this.#hash === undefined) return undefined;
    const stored = await (await RecordStore.open(this.#connection)).get(this.#hash);
    const state = stored?.record.state;
    if (state === "succeeded") return { state, detail: stored?.record.result ?? "" };
    return state === "dead" || state === "cancelled" ? { state, detail: stored?.record.reason ?? "" } : undefined;
  }
}

/** Undefined: a kind of event that this command is too old to know. */
function seenEvent(subject: string, source: string, json: unknown): SeenEvent | undefined {
  const [attempt, what] = subject.split(".").slice(-2);
  const known = kind.safeParse(what);
  if (!known.success) return undefined;
  const { time, data } = eventBody.parse(json);
  const { next, ...facts } = data;
  const until = next === undefined ? {} : { notBefore: next.notBefore };
  return { kind: known.data, at: time, attempt: Number(attempt), source, ...facts, ...until };
}
