import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { rejected } from "../../libs/contract/message.ts";
import { parseRetryMessage } from "../../libs/contract/retry-message.ts";
import { queueOfConsumer, STREAM } from "../../libs/contract/streams.ts";
import { parseRetrySubject } from "../../libs/contract/subjects.ts";
import { awaits } from "../../libs/contract/transition.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { type Metrics, queueLabel } from "../../libs/runtime/metrics.ts";
import type { Broker, StoredMessage } from "../../libs/streams/broker.ts";
import type { JobStore } from "../../libs/streams/job-store.ts";
import type { Patience } from "./patience.ts";

export interface RemovedQueuesOptions {
  readonly connection: NatsConnection;
  readonly broker: Pick<Broker, "last">;
  readonly store: Pick<JobStore, "records" | "deadLetters" | "events" | "messages" | "settler">;
  readonly queues: () => Readonly<Record<string, unknown>>;
  readonly patience: Patience;
  readonly metrics: Metrics;
  readonly log: Log;
}

/**
 * What a queue leaves behind that is not configured any more: due retries that no record awaits, and its consumers, which go when nothing waits
 * for them and nothing is unacknowledged. (Fresh messages: `UnroutedMessages`; awaited retries: `SleepingRecords`; running Jobs end as they do.)
 */
export class RemovedQueues {
  readonly #manager: JetStreamManager;
  readonly #options: Omit<RemovedQueuesOptions, "connection">;

  private constructor(manager: JetStreamManager, options: RemovedQueuesOptions) {
    this.#manager = manager;
    this.#options = options;
  }

  static async open(options: RemovedQueuesOptions): Promise<RemovedQueues> {
    return new RemovedQueues(await jetstreamManager(options.connection), options);
  }

  async sweep(signal: AbortSignal, beat: () => void): Promise<void> {
    const { queues, patience, broker } = this.#options;
    for (const queue of Object.keys(queues())) patience.over(queue);
    const info = await this.#manager.streams.info(STREAM.retry, { subjects_filter: "retry.run.>" });
    for (const subject of Object.keys(info.state.subjects ?? {})) {
      if (signal.aborted) return;
      const queue = parseRetrySubject(subject)?.queue;
      if (queue === undefined || Object.hasOwn(queues(), queue) || !patience.isExhausted(queue)) continue;
      const stored = await broker.last(STREAM.retry, subject);
      if (stored !== undefined) await this.#clear(stored, queue);
      beat();
    }
    for (const stream of [STREAM.jobs, STREAM.retry]) await this.#removeConsumers(stream);
  }

  async #clear(stored: StoredMessage, queue: string): Promise<void> {
    const { queues, metrics } = this.#options;
    const { records, settler, messages, deadLetters, events } = this.#options.store;
    const retry = parseRetryMessage(stored.subject, stored.headers);
    const source = { stream: STREAM.retry, seq: stored.seq, storedAt: stored.storedAt };
    const record = retry === undefined ? undefined : (await records.get(retry.hash))?.record;
    if (retry !== undefined && record !== undefined) {
      // The message of a running Job stays until that has ended (invariant I3).
      if (record.state === "running" || awaits(record, retry)) return;
      await settler.repeatEffects(record);
    } else {
      const { rejection } = rejected("UNKNOWN_QUEUE", "", "its queue is not configured any more");
      const original = retry?.original ?? stored;
      const id = retry?.id;
      await deadLetters.rejected({ queue, type: retry?.type ?? "", id, source, rejection, original, body: stored.data });
      await events.rejected(queue, id, source, rejection, new Date().toISOString());
      metrics.messagesFailed.inc({ queue: queueLabel(queue, queues()) });
    }
    await messages.remove(source, undefined);
  }

  async #removeConsumers(stream: string): Promise<void> {
    const { queues, patience, log } = this.#options;
    for await (const consumer of this.#manager.consumers.list(stream)) {
      const queue = queueOfConsumer(consumer.name);
      if (queue === undefined || Object.hasOwn(queues(), queue)) continue;
      if (!patience.isExhausted(queue) || consumer.num_pending > 0 || consumer.num_ack_pending > 0) continue;
      await this.#manager.consumers.delete(stream, consumer.name);
      log.info("consumer.removed", { stream, queue });
    }
  }
}
