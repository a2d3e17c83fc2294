import { DeliverPolicy, jetstream } from "@nats-io/jetstream";
import { z } from "zod";
import { MillraceError } from "../../libs/contract/errors.ts";
import type { EventKind } from "../../libs/contract/event.ts";
import { SOURCE_HEADER } from "../../libs/contract/event.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { RecordStore } from "../../libs/streams/records.ts";
import type { Session } from "./session.ts";

const eventData = z.object({
  time: z.string(),
  data: z.looseObject({
    attempt: z.number().optional(),
    reason: z.string().optional(),
    class: z.string().optional(),
    code: z.string().optional(),
    result: z.string().optional(),
    node: z.string().optional(),
    exitCode: z.number().optional(),
  }),
});
export type EventData = z.output<typeof eventData>["data"];

export interface SeenEvent {
  readonly kind: EventKind;
  readonly time: string;
  readonly source: string;
  readonly data: EventData;
}

export interface Outcome {
  readonly state: "succeeded" | "dead" | "rejected" | "cancelled";
  readonly detail: string;
}

/** Follows one publish to its end. Opened before the publish, so that nothing can happen unseen. */
export class OutcomeWatch {
  readonly #session: Session;
  readonly #queue: string;
  readonly #hash: string | undefined;

  constructor(options: { readonly session: Session; readonly queue: string; readonly hash: string | undefined }) {
    this.#session = options.session;
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
    const consumer = await jetstream(this.#session.connection).consumers.get(STREAM.events, {
      filter_subjects: filters,
      deliver_policy: DeliverPolicy.New,
    });
    const messages = await consumer.consume();
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    const source = await publish();
    for await (const message of messages) {
      const event = seenEvent(message.subject, message.headers?.get(SOURCE_HEADER) ?? "", message.json());
      const outcome = await this.#judge(event, source);
      if (event.kind !== "rejected" || outcome !== undefined) onEvent(event);
      if (outcome !== undefined) return outcome;
    }
    throw new MillraceError("WAIT_TIMEOUT", "no outcome in the time given; the job goes on: see millrace get");
  }

  async #judge(event: SeenEvent, source: string): Promise<Outcome | undefined> {
    switch (event.kind) {
      case "succeeded":
        return { state: "succeeded", detail: event.data.result ?? "" };
      case "dead":
        return { state: "dead", detail: `${event.data.class ?? ""}: ${event.data.reason ?? ""}` };
      case "rejected":
        return event.source.startsWith(source)
          ? { state: "rejected", detail: `${event.data.code}: ${event.data.reason}` }
          : undefined;
      case "duplicate":
        return event.source.startsWith(source) ? this.#earlierOutcome() : undefined;
      default:
        return undefined;
    }
  }

  /** The job of this id existed already; it may have ended long ago. */
  async #earlierOutcome(): Promise<Outcome | undefined> {
    if (this.#hash === undefined) return undefined;
    const stored = await (await RecordStore.open(this.#session.connection)).get(this.#hash);
    const state = stored?.record.state;
    if (state === "succeeded") return { state, detail: stored?.record.result ?? "" };
    return state === "dead" || state === "cancelled" ? { state, detail: stored?.record.reason ?? "" } : undefined;
  }
}

/** All events of one job so far, oldest first. */
export async function eventsOf(session: Session, queue: string, hash: string): Promise<SeenEvent[]> {
  const consumer = await jetstream(session.connection).consumers.get(STREAM.events, {
    filter_subjects: `events.${queue}.${hash}.>`,
  });
  const events: SeenEvent[] = [];
  const messages = await consumer.fetch({ max_messages: 200, expires: 1_000 });
  for await (const message of messages) {
    events.push(seenEvent(message.subject, message.headers?.get(SOURCE_HEADER) ?? "", message.json()));
    if (message.info.pending === 0) break;
  }
  return events;
}

function seenEvent(subject: string, source: string, json: unknown): SeenEvent {
  const { time, data } = eventData.parse(json);
  return { kind: (subject.split(".").at(-1) ?? "") as EventKind, time, source, data };
}
