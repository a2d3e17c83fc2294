import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import type { AnswerOf, QueueRow, ReceivedRequest } from "../../../libs/contract/requests.ts";
import { STREAM } from "../../../libs/contract/streams.ts";
import { countUnder } from "../../../libs/streams/direct-batch.ts";
import { QueueConsumers } from "../../../libs/streams/queue-consumers.ts";
import type { RecordStore } from "../../../libs/streams/records.ts";
import { RequestRefused } from "./refused.ts";

const CHUNK = 128;

/** Shows queues and pauses them (rule P4). */
export class QueueControl {
  readonly #manager: JetStreamManager;
  readonly #consumers: QueueConsumers;
  readonly #records: Pick<RecordStore, "getMany">;
  readonly #configured: () => readonly string[];

  private constructor(
    manager: JetStreamManager,
    consumers: QueueConsumers,
    records: Pick<RecordStore, "getMany">,
    configured: () => readonly string[],
  ) {
    this.#manager = manager;
    this.#consumers = consumers;
    this.#records = records;
    this.#configured = configured;
  }

  static async open(options: {
    readonly connection: NatsConnection;
    readonly records: Pick<RecordStore, "getMany">;
    readonly queues: () => readonly string[];
  }): Promise<QueueControl> {
    const manager = await jetstreamManager(options.connection);
    return new QueueControl(manager, await QueueConsumers.open(options.connection), options.records, options.queues);
  }

  async list(_request: ReceivedRequest<"queues">, signal: AbortSignal): Promise<AnswerOf<"queues">> {
    const configured = new Set(this.#configured());
    const names = [...new Set([...configured, ...(await this.#consumers.queues())])].sort();
    const sleeping = await this.#sleeping(signal);
    const queues = await Promise.all(names.map((queue) => this.#row(queue, configured.has(queue), sleeping)));
    return { ok: true, queues };
  }

  async pause(request: ReceivedRequest<"pause">): Promise<AnswerOf<"pause">> {
    const { queue, forMs, reason, by } = request;
    await this.#mustExist(queue);
    const paused = {
      ...(forMs === undefined ? {} : { until: new Date(Date.now() + forMs).toISOString() }),
      ...(reason === undefined ? {} : { reason }),
      ...(by === undefined ? {} : { by }),
    };
    await this.#consumers.pause(queue, paused);
    return { ok: true, queue, paused };
  }

  async resume({ queue }: ReceivedRequest<"resume">): Promise<AnswerOf<"resume">> {
    await this.#mustExist(queue);
    const { jobs, retry } = await this.#consumers.view(queue);
    await this.#consumers.resume(queue);
    return { ok: true, queue, wasPaused: jobs?.pause !== undefined || retry?.pause !== undefined };
  }

  async #mustExist(queue: string): Promise<void> {
    const { jobs } = await this.#consumers.view(queue);
    if (jobs !== undefined) return;
    const known = this.#configured().join(", ");
    throw new RequestRefused("QUEUE_UNKNOWN", `no queue ${queue} is configured; there are: ${known === "" ? "none" : known}`);
  }

  async #row(queue: string, configured: boolean, sleeping: ReadonlyMap<string, number> | undefined): Promise<QueueRow> {
    const [{ jobs, retry }, dead] = await Promise.all([
      this.#consumers.view(queue),
      countUnder(this.#manager, STREAM.deadLetters, `dlq.${queue}.>`),
    ]);
    const paused = jobs?.pause ?? retry?.pause;
    return {
      queue,
      configured,
      waiting: (jobs?.waiting ?? 0) + (retry?.waiting ?? 0),
      running: (jobs?.inUse ?? 0) + (retry?.inUse ?? 0),
      slots: jobs?.limit ?? 0,
      retrySlots: retry?.limit ?? 0,
      dead,
      ...(sleeping === undefined ? {} : { sleeping: sleeping.get(queue) ?? 0 }),
      ...(paused === undefined ? {} : { paused }),
    };
  }

  /** By queue. A sleeping message's subject names its job's hash only; the record knows the queue. */
  async #sleeping(signal: AbortSignal): Promise<ReadonlyMap<string, number> | undefined> {
    const info = await this.#manager.streams.info(STREAM.retry, { subjects_filter: "retry.at.>" });
    const hashes = Object.keys(info.state.subjects ?? {}).map((subject) => subject.split(".")[2] ?? "");
    const counts = new Map<string, number>();
    for (let start = 0; start < hashes.length; start += CHUNK) {
      if (signal.aborted) return undefined;
      for (const { record } of (await this.#records.getMany(hashes.slice(start, start + CHUNK), () => {})).values()) {
        counts.set(record.queue, (counts.get(record.queue) ?? 0) + 1);
      }
    }
    return counts;
  }
}
