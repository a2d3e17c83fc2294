import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { EVENT_KINDS } from "../../../libs/contract/event.ts";
import type { TimelineEntry } from "../../../libs/contract/requests.ts";
import { STREAM } from "../../../libs/contract/streams.ts";
import { directBatch } from "../../../libs/streams/direct-batch.ts";

const event = z.object({
  time: z.string(),
  data: z.object({
    node: z.string().optional(),
    class: z.string().optional(),
    exitCode: z.number().optional(),
    reason: z.string().optional(),
    next: z.object({ notBefore: z.string() }).optional(),
  }),
});
const kind = z.enum(EVENT_KINDS);

const BATCH = 100;
const EVENTS_READ_MAX = 2_000;
/** A job that was tried a thousand times is told by its end. */
const EVENTS_SHOWN_MAX = 200;

/** What happened to a job, as EVENTS tells. */
export class Timeline {
  readonly #manager: JetStreamManager;

  private constructor(manager: JetStreamManager) {
    this.#manager = manager;
  }

  static async open(connection: NatsConnection): Promise<Timeline> {
    return new Timeline(await jetstreamManager(connection));
  }

  /** Oldest first. */
  async of(job: { readonly queue: string; readonly hash: string }, signal: AbortSignal): Promise<TimelineEntry[]> {
    const filter = `events.${job.queue}.${job.hash}.>`;
    const entries: TimelineEntry[] = [];
    let fromSeq = 1;
    let read = 0;
    while (!signal.aborted && read < EVENTS_READ_MAX) {
      const { messages, pending } = await directBatch(this.#manager, { stream: STREAM.events, filter, fromSeq, count: BATCH });
      for (const message of messages) {
        const entry = timelineEntry(message.subject, message.json());
        if (entry !== undefined) entries.push(entry);
      }
      read += messages.length;
      fromSeq = (messages.at(-1)?.seq ?? 0) + 1;
      if (pending === 0 || messages.length === 0) break;
    }
    return entries.slice(-EVENTS_SHOWN_MAX);
  }
}

function timelineEntry(subject: string, json: unknown): TimelineEntry | undefined {
  const [attempt, what] = subject.split(".").slice(-2);
  const known = kind.safeParse(what);
  const parsed = event.safeParse(json);
  if (!known.success || !parsed.success) return undefined;
  const { next, ...data } = parsed.data.data;
  return {
    kind: known.data,
    at: parsed.data.time,
    attempt: Number(attempt),
    ...data,
    ...(next === undefined ? {} : { notBefore: next.notBefore }),
  };
}
