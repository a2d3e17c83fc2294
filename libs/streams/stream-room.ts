import type { Broker } from "./broker.ts";

const READ_EVERY_MS = 5_000;

/** Whether a stream is filled to less than a share of its `max_bytes`: asked for each message, read every few seconds. */
export class StreamRoom {
  readonly #broker: Pick<Broker, "fillOf">;
  readonly #stream: string;
  readonly #share: number;
  readonly #nowMs: () => number;
  #read = { atMs: Number.NEGATIVE_INFINITY, fill: 0 };

  constructor(options: {
    readonly broker: Pick<Broker, "fillOf">;
    readonly stream: string;
    readonly share: number;
    readonly nowMs: () => number;
  }) {
    this.#broker = options.broker;
    this.#stream = options.stream;
    this.#share = options.share;
    this.#nowMs = options.nowMs;
  }

  async isLeft(): Promise<boolean> {
    const nowMs = this.#nowMs();
    if (nowMs - this.#read.atMs > READ_EVERY_MS) this.#read = { atMs: nowMs, fill: await this.#broker.fillOf(this.#stream) };
    return this.#read.fill < this.#share;
  }
}
