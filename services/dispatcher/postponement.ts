import { jobFields } from "../../libs/contract/job-fields.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Retries } from "../../libs/streams/retries.ts";
import type { Settler } from "../../libs/streams/settle.ts";
import type { Admission } from "./admission.ts";
import type { Delivery } from "./delivery.ts";

export interface PostponementOptions {
  readonly settler: Pick<Settler, "settle">;
  readonly retries: Pick<Retries, "hasRoom">;
  readonly admission: Pick<Admission, "queue">;
  readonly nowMs: () => number;
  readonly random: () => number;
  readonly log: Log;
}

/** A blocked message sleeps so many times the queue's free backoff, so that RETRY's few slots are not filled with what is still blocked. */
const SLEEP_FACTOR = 3;
/** Without a pause of its own a queue's blocked messages would go round and round. */
const SHORTEST_SLEEP_MS = 3_000;
/** The server refuses what it cannot take now; NAKed, the message stays where it is. */
const NO_ROOM_MS = 5_000;

/** Moves messages that cannot start yet to RETRY, where they take no slot (rules D8, D10). */
export class Postponement {
  readonly #options: PostponementOptions;

  constructor(options: PostponementOptions) {
    this.#options = options;
  }

  /** D10. */
  async until(delivery: Delivery, untilMs: number, why: string): Promise<void> {
    const { settler, nowMs, log } = this.#options;
    const { message, id, hash, queue, type, messageHash, source, attempt, life, traceparent, memory, refused } = delivery;
    const notBefore = new Date(untilMs).toISOString();
    const at = new Date(nowMs()).toISOString();
    const job = { id, hash, queue, type, messageHash, source, attempt, life, traceparent, memory };
    const outcome = await settler.settle(hash, { kind: "delayed", ...job, notBefore, refused, why, at }, message.replySubject);
    // Somebody moved the record on meanwhile: the message is decided again by what it says now.
    if (outcome.kind === "refused") message.nak();
    log.info("message.asleep", { ...jobFields(delivery), notBefore, why, outcome: outcome.kind });
  }

  /** D8: it must not keep a slot from the queue's other namespaces for longer. RETRY discards what is old when it is full: what does not fit stays. */
  async whileBlocked(delivery: Delivery): Promise<void> {
    const { retries, admission, nowMs, random } = this.#options;
    if (!(await retries.hasRoom())) return delivery.message.nak(NO_ROOM_MS);
    const initialMs = admission.queue(delivery.queue)?.retry.freeBackoff.initial ?? 10_000;
    const pauseMs = Math.max(initialMs * SLEEP_FACTOR, SHORTEST_SLEEP_MS) * (0.8 + 0.4 * random());
    await this.until(delivery, nowMs() + pauseMs, "the cluster accepts no Jobs for it at the moment");
  }
}
