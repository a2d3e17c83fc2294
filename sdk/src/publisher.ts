import type { JetStreamClient } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { errorText, MillraceError } from "../../libs/contract/errors.ts";
import type { Outgoing, Published, PublishOptions } from "./published.ts";

/**
 * The names of a handler's publishes: each the same for every attempt that publishes the same things in the same order. Begins with the worker's name,
 * which has no dot: one producer's id may stand for messages of several workers.
 */
export class PublishNames {
  readonly #of: string;
  readonly #counts = new Map<string, number>();

  constructor({ worker, id }: { readonly worker: string; readonly id: string }) {
    this.#of = `${worker}.${id}`;
  }

  next(subject: string, given: string | undefined): string {
    if (given !== undefined) return `${this.#of}.${subject}.${given}`;
    const count = (this.#counts.get(subject) ?? 0) + 1;
    this.#counts.set(subject, count);
    // With a separator of its own: somebody may give a number.
    return `${this.#of}.${subject}#${count}`;
  }
}

/** @throws MillraceError `PUBLISH_FAILED` for what cannot be written as JSON */
export function outgoing(
  subject: string,
  data: unknown,
  options: PublishOptions,
  names: PublishNames,
  trace: Readonly<Record<string, string>>,
): Outgoing {
  const name = names.next(subject, options.id);
  return { subject, headers: { ...trace, ...options.headers, "Nats-Msg-Id": name }, body: bodyOf(subject, data) };
}

function bodyOf(subject: string, data: unknown): Uint8Array | string {
  if (typeof data === "string" || data instanceof Uint8Array) return data;
  let text: string | undefined;
  try {
    text = JSON.stringify(data);
  } catch (error) {
    throw failed(subject, error);
  }
  if (text === undefined) throw failed(subject, "it is nothing that JSON can say");
  return text;
}

/** Publishes and waits for the broker's word. */
export async function publishTo(client: JetStreamClient, { subject, headers: given, body }: Outgoing): Promise<Published> {
  try {
    const head = headers();
    for (const [name, value] of Object.entries(given)) head.set(name, value);
    const { stream, seq, duplicate } = await client.publish(subject, body, { headers: head });
    return { stream, seq, duplicate };
  } catch (error) {
    throw failed(subject, error);
  }
}

function failed(subject: string, cause: unknown): MillraceError {
  // What the client makes of a subject that nobody takes.
  const isNobodys = /no responders|jetstream is not enabled/i.test(errorText(cause));
  const hint = isNobodys ? "; no stream takes that subject: a worker of it must be in the chart's values" : "";
  return new MillraceError("PUBLISH_FAILED", `cannot publish to ${subject}: ${errorText(cause)}${hint}`, { cause });
}
