import { BUCKET, bucketStream, STREAM } from "../../libs/contract/streams.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import type { Broker } from "../../libs/streams/broker.ts";

/** From which share of its `max_bytes` on a stream is a matter for people, and what happens when it is full. */
const ALARMS: readonly { readonly stream: string; readonly share: number; readonly consequence: string }[] = [
  { stream: STREAM.jobs, share: 0.9, consequence: "when it is full, producers are refused" },
  { stream: STREAM.retry, share: 0.5, consequence: "when it is full, the oldest retries are lost" },
  { stream: STREAM.work, share: 0.9, consequence: "when it is full, producers are refused" },
  { stream: STREAM.workRetry, share: 0.5, consequence: "when it is full, the oldest retries of workers are lost" },
  { stream: bucketStream(BUCKET.claims), share: 0.8, consequence: "when it is full, no worker can take a message" },
  { stream: STREAM.deadLetters, share: 0.8, consequence: "when it is full, failed jobs keep their slots" },
  { stream: bucketStream(BUCKET.records), share: 0.8, consequence: "when it is full, no other job can be recorded or settled" },
];

/** How full the streams are that must not fill up (protocol, Limits): as a metric, in the log, and said by `/readyz`. */
export class StreamFill {
  readonly #broker: Pick<Broker, "fillOf">;
  readonly #metrics: Metrics;
  readonly #log: Log;
  #alarms: readonly string[] = [];

  constructor(options: { readonly broker: Pick<Broker, "fillOf">; readonly metrics: Metrics; readonly log: Log }) {
    this.#broker = options.broker;
    this.#metrics = options.metrics;
    this.#log = options.log;
  }

  /** One sentence for each stream that is too full. */
  alarms(): readonly string[] {
    return this.#alarms;
  }

  async sweep(): Promise<void> {
    const alarms: string[] = [];
    for (const { stream, share, consequence } of ALARMS) {
      const fill = await this.#broker.fillOf(stream);
      this.#metrics.streamFill.set({ stream }, fill);
      if (fill < share) continue;
      alarms.push(`stream ${stream} is ${Math.round(fill * 100)} % full: ${consequence}`);
      this.#log.warn("stream.filling", { stream, fill, consequence });
    }
    this.#alarms = alarms;
  }
}
