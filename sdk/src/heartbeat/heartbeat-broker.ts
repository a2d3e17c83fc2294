import type { NatsConnection } from "@nats-io/transport-node";
import { errorText } from "../../../libs/contract/errors.ts";
import { Backoff, pause } from "../../../libs/runtime/backoff.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { BrokerLink } from "../../../libs/streams/broker-link.ts";
import { ClaimStore } from "../../../libs/streams/claims.ts";
import { connectNats, type NatsSettings } from "../../../libs/streams/connection.ts";
import { JetStreamBroker } from "../../../libs/streams/jetstream-broker.ts";
import type { LeaseBroker } from "./held-lease.ts";

/** The thread's own connection: away → up → away → …, for as long as the thread runs. */
export class HeartbeatBroker {
  readonly link: BrokerLink;
  readonly #settings: NatsSettings;
  readonly #worker: string;
  readonly #log: Log;
  readonly #onReached: () => void;
  readonly #stopping = new AbortController();
  #connection: NatsConnection | undefined;
  #leases: LeaseBroker | undefined;

  /** `onReached`: NATS is there, for the first time or again. */
  constructor(options: {
    readonly settings: NatsSettings;
    readonly worker: string;
    readonly log: Log;
    readonly onReached: () => void;
  }) {
    this.#settings = options.settings;
    this.#worker = options.worker;
    this.#log = options.log;
    this.#onReached = options.onReached;
    this.link = new BrokerLink({ onDenied: (what) => this.#log.error("heartbeat.denied", { what }) });
  }

  get leases(): LeaseBroker | undefined {
    return this.#leases;
  }

  /** Resolves when the connection is closed. @throws MillraceError `NATS_TOO_OLD` */
  async run(): Promise<void> {
    const connection = await connectNats({
      settings: this.#settings,
      name: `worker ${this.#worker} heartbeat`,
      onUnreachable: (problem) => this.link.failed(problem),
    });
    this.#connection = connection;
    if (this.#stopping.signal.aborted) return connection.close();
    const closed = this.link.follow(connection);
    await this.#open(connection);
    if (this.#leases !== undefined) await this.#watch(connection);
    await closed;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#connection?.drain().catch(() => {});
  }

  /** JetStream may come later than its server. */
  async #open(connection: NatsConnection): Promise<void> {
    const backoff = new Backoff({ initialMs: 250, maxMs: 5_000 });
    while (!this.#stopping.signal.aborted && !connection.isClosed()) {
      try {
        const broker = await JetStreamBroker.open(connection);
        this.#leases = { claims: new ClaimStore({ broker }), renew: (replySubject) => broker.renew(replySubject) };
        return;
      } catch (error) {
        this.#log.warn("heartbeat.no-jetstream", { error: errorText(error) });
        await pause(backoff.nextMs(), this.#stopping.signal);
      }
    }
  }

  async #watch(connection: NatsConnection): Promise<void> {
    this.#onReached();
    for await (const status of connection.status()) if (status.type === "reconnect") this.#onReached();
  }
}
