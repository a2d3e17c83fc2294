import {
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { errorText } from "../../../libs/contract/errors.ts";
import { BUCKET, bucketStream } from "../../../libs/contract/streams.ts";
import { Backoff, pause } from "../../../libs/runtime/backoff.ts";
import type { Service } from "../../../libs/runtime/lifecycle.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import { claimKeyOf, type StoredClaim, storedClaim } from "../../../libs/streams/claims.ts";
import { headerValues } from "../../../libs/streams/jetstream-broker.ts";

const STREAM_NAME = bucketStream(BUCKET.claims);

/** What the client says when it may have missed something. It goes on where it was, and what marked a removal may be gone by then. */
const GAPS: readonly string[] = ["reconnect", "heartbeats_missed", "ordered_consumer_recreated"];

/**
 * All claims, as the bucket holds them, followed by an ordered consumer.
 *
 *   reading what is there → synced, following → (the consumer ended, there was a gap, the bucket was made anew) → reading what is there …
 *
 * What it says may be old by as much as the network takes: whoever acts on it does so by compare-and-swap.
 */
export class ClaimsWatch implements Service {
  readonly name = "claims-watch";
  readonly #connection: NatsConnection;
  readonly #client: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #onClaim: (claim: StoredClaim, before: StoredClaim | undefined) => void;
  readonly #onGone: (last: StoredClaim) => void;
  readonly #onSynced: () => void;
  readonly #log: Log;
  readonly #claims = new Map<string, StoredClaim>();
  readonly #ofPod = new Map<string, Set<string>>();
  readonly #stop = new AbortController();
  #round = new AbortController();
  #running: Promise<void> | undefined;
  #isSynced = false;
  #created = "";
  #lastSequence = 0;

  private constructor(connection: NatsConnection, manager: JetStreamManager, options: ClaimsWatchOptions) {
    this.#connection = connection;
    this.#client = jetstream(connection);
    this.#manager = manager;
    this.#onClaim = options.onClaim;
    this.#onGone = options.onGone;
    this.#onSynced = options.onSynced;
    this.#log = options.log;
  }

  static async open(options: ClaimsWatchOptions & { readonly connection: NatsConnection }): Promise<ClaimsWatch> {
    return new ClaimsWatch(options.connection, await jetstreamManager(options.connection), options);
  }

  start(): Promise<void> {
    this.#running ??= this.#run(this.#stop.signal);
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#round.abort();
    await this.#running;
    this.#isSynced = false;
  }

  isSynced(): boolean {
    return this.#isSynced;
  }

  get(key: string): StoredClaim | undefined {
    return this.#claims.get(key);
  }

  all(): IterableIterator<StoredClaim> {
    return this.#claims.values();
  }

  /** Pods that hold at least one claim. */
  pods(): IterableIterator<string> {
    return this.#ofPod.keys();
  }

  ofPod(uid: string): StoredClaim[] {
    return [...(this.#ofPod.get(uid) ?? [])].flatMap((key) => this.#claims.get(key) ?? []);
  }

  countOf(uid: string): number {
    return this.#ofPod.get(uid)?.size ?? 0;
  }

  /** A bucket that was made anew or restored tells a consumer of the old one nothing: it is read from its beginning. */
  async sweep(): Promise<void> {
    const { created, state } = await this.#manager.streams.info(STREAM_NAME);
    if (created !== this.#created || state.last_seq < this.#lastSequence) this.#round.abort();
  }

  async #run(signal: AbortSignal): Promise<void> {
    void this.#watchGaps(this.#connection.status());
    const backoff = new Backoff({ initialMs: 100, maxMs: 5_000 });
    while (!signal.aborted) {
      this.#round = new AbortController();
      try {
        await this.#follow(this.#round.signal, () => backoff.reset());
      } catch (error) {
        if (!signal.aborted) this.#log.warn("claims.not-followed", { problem: errorText(error) });
      }
      this.#isSynced = false;
      await pause(backoff.nextMs(), signal);
    }
  }

  async #follow(signal: AbortSignal, onRead: () => void): Promise<void> {
    const { created } = await this.#manager.streams.info(STREAM_NAME);
    this.#created = created;
    this.#lastSequence = 0;
    const consumer = await this.#client.consumers.get(STREAM_NAME, { deliver_policy: DeliverPolicy.LastPerSubject });
    const unseen = new Set(this.#claims.keys());
    const synced = (): void => {
      for (const key of unseen) this.#forget(key);
      unseen.clear();
      this.#isSynced = true;
      onRead();
      this.#onSynced();
    };
    if ((await consumer.info(true)).num_pending === 0) synced();
    const messages = await consumer.consume({ max_messages: 500, idle_heartbeat: 2_000 });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    void this.#watchGaps(messages.status());
    try {
      // Stopped or not: the client ends only what is iterated over.
      if (signal.aborted) stop();
      for await (const message of messages) {
        unseen.delete(claimKeyOf(message.subject));
        this.#take(message);
        if (!this.#isSynced && message.info.pending === 0) synced();
      }
    } finally {
      signal.removeEventListener("abort", stop);
      messages.stop();
      // The broker would keep it for five minutes.
      await consumer.delete().catch(() => false);
    }
  }

  /** A round that has a gap is over: what was removed meanwhile is told by nothing but its absence. */
  async #watchGaps(statuses: AsyncIterable<{ readonly type: string }>): Promise<void> {
    for await (const { type } of statuses) {
      if (this.#stop.signal.aborted) return;
      if (GAPS.includes(type)) this.#round.abort();
    }
  }

  #take(message: JsMsg): void {
    const { subject, seq, data, headers } = message;
    this.#lastSequence = Math.max(this.#lastSequence, seq);
    const key = claimKeyOf(subject);
    const stored = storedClaim({ subject, seq, data, headers: headerValues(headers), storedAt: String(message.timestampNanos) });
    if (stored === undefined) this.#forget(key);
    else this.#keep(stored);
  }

  #keep(stored: StoredClaim): void {
    const { key } = stored;
    const before = this.#claims.get(key);
    // Read from its beginning once more, it shows what is known.
    if (before?.revision === stored.revision && before.writtenAtMs === stored.writtenAtMs) return;
    this.#unindex(before);
    this.#claims.set(key, stored);
    const pod = stored.claim.holder?.pod;
    if (pod !== undefined) this.#ofPod.set(pod, (this.#ofPod.get(pod) ?? new Set()).add(key));
    this.#onClaim(stored, before);
  }

  #forget(key: string): void {
    const last = this.#claims.get(key);
    if (last === undefined) return;
    this.#claims.delete(key);
    this.#unindex(last);
    this.#onGone(last);
  }

  #unindex(stored: StoredClaim | undefined): void {
    const pod = stored?.claim.holder?.pod;
    if (stored === undefined || pod === undefined) return;
    const keys = this.#ofPod.get(pod);
    keys?.delete(stored.key);
    if (keys?.size === 0) this.#ofPod.delete(pod);
  }
}

export interface ClaimsWatchOptions {
  readonly onClaim: (claim: StoredClaim, before: StoredClaim | undefined) => void;
  readonly onGone: (last: StoredClaim) => void;
  /** All that is there is known. */
  readonly onSynced: () => void;
  readonly log: Log;
}
