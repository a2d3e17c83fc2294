import { errorText } from "../contract/errors.ts";
import { Backoff, pause } from "../runtime/backoff.ts";
import { type Check, Heartbeat } from "../runtime/health.ts";
import type { Service } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { KubeClient } from "./client.ts";
import { type Lease, LeasesApi } from "./leases-api.ts";

/** The Lease as it was when it was last seen to differ, and when that was by our own clock. */
interface Sighting {
  readonly version: string;
  readonly holder: string;
  readonly durationMs: number;
  readonly atMs: number;
}

/** `unknown`: somebody wrote in between, or no answer came and the write may have been carried out. */
type Claim = "held" | "other" | "unknown";

const STALL_MS = 60_000;
const LONGEST_BACKOFF_MS = 30_000;

/**
 * One of several candidates leads at a time, by a Lease; semantics of client-go's leaderelection.
 *
 *   campaigning → leading → ending → campaigning …           (for ever, until `stop`)
 *
 * campaigning: the Lease is claimed when nobody holds it, or when it has not been seen to change for as long as its holder asked for.
 * leading: the term runs and the Lease is renewed. Stopped, taken by another, or not renewed within the deadline: the signal aborts.
 * ending: the term winds down. Its Lease is kept for as long as that is possible, and released only when the term has wholly ended.
 *
 * No two lead: a leader counts from before its last renewal was sent and gives up after `renewDeadlineMs`; another counts from after it has
 * seen that renewal and waits for the longer `leaseDurationMs`. Each counts on its own monotonic clock; the times in the Lease are for people.
 * The difference is what a term has for ending. Identities must differ between processes that live at the same time.
 */
export class LeaseElection implements Service {
  readonly name = "election";
  /** Liveness: silent when a term does not end though it was told to, or when the campaign hangs. A server that is away is no reason. */
  readonly heartbeat: Check = {
    name: "election",
    problem: () => (this.#running === undefined ? undefined : this.#beat.problem()),
  };
  readonly #beat: Heartbeat;
  readonly #leases: LeasesApi;
  readonly #leaseName: string;
  readonly #identity: string;
  readonly #work: (signal: AbortSignal) => Promise<void>;
  readonly #log: Log;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  readonly #nowMs: () => number;
  readonly #wait: (delayMs: number, signal: AbortSignal) => Promise<void>;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #sighting: Sighting | undefined;
  #term: AbortController | undefined;
  #renewedAtMs = Number.NEGATIVE_INFINITY;
  /** A write of ours was, or may have been, carried out. */
  #mayHold = false;
  #answeredAtMs: number;
  #claimProblem: string | undefined;
  #termProblem: string | undefined;

  constructor(options: {
    readonly client: Pick<KubeClient, "json">;
    readonly namespace: string;
    readonly name: string;
    readonly identity: string;
    /** Starts the work of a leader; resolves when it has wholly ended after the signal. */
    readonly term: (signal: AbortSignal) => Promise<void>;
    readonly log: Log;
    readonly leaseDurationMs?: number;
    readonly renewDeadlineMs?: number;
    readonly retryPeriodMs?: number;
    readonly nowMs?: () => number;
    readonly wait?: (delayMs: number, signal: AbortSignal) => Promise<void>;
    readonly random?: () => number;
  }) {
    this.#leases = new LeasesApi(options);
    this.#leaseName = options.name;
    this.#identity = options.identity;
    this.#work = options.term;
    this.#log = options.log;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryPeriodMs = options.retryPeriodMs ?? 2_000;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#wait = options.wait ?? pause;
    this.#random = options.random ?? Math.random;
    this.#backoff = new Backoff({ initialMs: 1_000, maxMs: LONGEST_BACKOFF_MS, random: this.#random });
    this.#answeredAtMs = this.#nowMs();
    this.#beat = new Heartbeat("election", {
      stallAfterMs: Math.max(STALL_MS, 2 * this.#leaseDurationMs),
      nowMs: this.#nowMs,
    });
  }

  /** Resolves at once: the campaign runs in the background. */
  start(): Promise<void> {
    this.#running ??= this.#campaign();
    return Promise.resolve();
  }

  /** Ends the term, then releases the Lease, so that another need not wait for it to expire. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** By the clock too: a process that was frozen knows it before its timers fire. */
  isLeader(): boolean {
    return this.#term?.signal.aborted === false && this.#leftMs() > 0;
  }

  /** Who held the Lease when it was last seen. */
  leader(): string | undefined {
    return this.#sighting?.holder || undefined;
  }

  /** Readiness: why the Lease cannot be read or written, or why the last term failed. */
  problem(): string | undefined {
    const silentMs = this.#nowMs() - this.#answeredAtMs;
    if (this.#claimProblem === undefined || silentMs <= this.#leaseDurationMs) return this.#termProblem;
    return `Lease ${this.#leaseName} could not be read or written for ${Math.round(silentMs / 1000)} s: ${this.#claimProblem}`;
  }

  async #campaign(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#beat.beat();
      const claim = await this.#claim(this.#answerTimeoutMs());
      if (claim !== "held") await this.#wait(this.#retryPeriodMs * (1 + this.#random()), signal);
      else if (this.#leftMs() > 0 && !signal.aborted) await this.#lead();
    }
    if (this.#mayHold) await this.#release();
  }

  async #lead(): Promise<void> {
    const term = new AbortController();
    const ended = new AbortController();
    const onStop = (): void => term.abort();
    this.#stop.signal.addEventListener("abort", onStop, { once: true });
    this.#term = term;
    this.#log.info("election.won", { lease: this.#leaseName });
    const startedAtMs = this.#nowMs();
    const work = this.#run(term.signal).finally(() => ended.abort());
    await this.#keep(term, ended.signal);
    const failure = await work;
    this.#term = undefined;
    this.#stop.signal.removeEventListener("abort", onStop);
    if (this.#mayHold) await this.#release();
    if (this.#nowMs() - startedAtMs > LONGEST_BACKOFF_MS) this.#backoff.reset();
    if (failure === undefined) return;
    this.#termProblem = failure;
    await this.#wait(this.#backoff.nextMs(), this.#stop.signal);
    this.#termProblem = undefined;
  }

  /** Resolves when the work has wholly ended; what it returns is why it failed. */
  async #run(signal: AbortSignal): Promise<string | undefined> {
    try {
      await this.#work(signal);
      if (signal.aborted) return undefined;
      this.#log.error("election.term-failed", { lease: this.#leaseName, problem: "it ended by itself" });
      return "the leader's work ended by itself";
    } catch (error) {
      this.#log.error("election.term-failed", { lease: this.#leaseName, error });
      return `the leader's work failed: ${errorText(error)}`;
    }
  }

  /** Renews until the term has ended, also while it ends; ends it when the Lease is lost. */
  async #keep(term: AbortController, ended: AbortSignal): Promise<void> {
    const lose = (problem: string): void => {
      if (term.signal.aborted) return;
      this.#log.warn("election.lost", { lease: this.#leaseName, problem });
      term.abort();
    };
    const loseIfLate = (): void => {
      if (this.#leftMs() <= 0) lose(`it was not renewed for ${this.#renewDeadlineMs} ms: ${this.#claimProblem ?? "too late"}`);
    };
    const upTo = (limitMs: number): number => (term.signal.aborted ? limitMs : Math.min(limitMs, Math.max(0, this.#leftMs())));
    while (!ended.aborted) {
      await this.#wait(upTo(this.#retryPeriodMs), ended);
      if (ended.aborted) return;
      loseIfLate();
      if (!term.signal.aborted) this.#beat.beat();
      const claim = await this.#claim(upTo(this.#answerTimeoutMs()));
      if (claim === "other") return lose(`it is held by ${this.leader() ?? "nobody"}`);
      loseIfLate();
    }
  }

  /** A server that is asked anew within the deadline gets a second chance. */
  #answerTimeoutMs(): number {
    return this.#renewDeadlineMs / 2;
  }

  #leftMs(): number {
    return this.#renewedAtMs + this.#renewDeadlineMs - this.#nowMs();
  }

  async #claim(limitMs: number): Promise<Claim> {
    try {
      const claim = await this.#within(limitMs, (signal) => this.#takeOrRenew(signal));
      this.#claimProblem = undefined;
      this.#answeredAtMs = this.#nowMs();
      return claim;
    } catch (error) {
      const problem = errorText(error);
      if (this.#claimProblem === undefined) this.#log.warn("election.unanswered", { lease: this.#leaseName, problem });
      this.#claimProblem = problem;
      return "unknown";
    }
  }

  async #takeOrRenew(signal: AbortSignal): Promise<Claim> {
    const read = await this.#leases.get(signal);
    this.#see(read);
    const holder = read?.spec.holderIdentity ?? "";
    const ours = holder === this.#identity;
    // A leader whose Lease is another's, or was released by somebody else, has lost it, whatever its clock says.
    if (this.#term === undefined ? this.#isHeldByAnother() : read !== undefined && !ours) {
      this.#mayHold = false;
      return "other";
    }
    this.#mayHold = true;
    const sentAtMs = this.#nowMs();
    const now = microTime();
    const written = await this.#leases.write(
      read,
      {
        holderIdentity: this.#identity,
        leaseDurationSeconds: Math.ceil(this.#leaseDurationMs / 1000),
        renewTime: now,
        ...(ours ? {} : { acquireTime: now, leaseTransitions: (read?.spec.leaseTransitions ?? -1) + 1 }),
      },
      signal,
    );
    if (written === undefined) return "unknown";
    this.#see(written);
    this.#renewedAtMs = sentAtMs;
    return "held";
  }

  /** A Lease that is gone was deleted by a person: its last holder may still work, so what was seen of it counts on. */
  #see(lease: Lease | undefined): void {
    if (lease === undefined) return;
    const version = `${lease.metadata.uid} ${lease.metadata.resourceVersion}`;
    if (version === this.#sighting?.version) return;
    const { holderIdentity, leaseDurationSeconds } = lease.spec;
    const durationMs = (leaseDurationSeconds ?? 0) * 1000 || this.#leaseDurationMs;
    this.#sighting = { version, holder: holderIdentity ?? "", durationMs, atMs: this.#nowMs() };
  }

  #isHeldByAnother(): boolean {
    if (this.#sighting === undefined) return false;
    const { holder, durationMs, atMs } = this.#sighting;
    return holder !== "" && holder !== this.#identity && this.#nowMs() - atMs < durationMs;
  }

  async #release(): Promise<void> {
    try {
      await this.#within(this.#answerTimeoutMs(), async (signal) => {
        // A renewal that was given up may be carried out between reading and writing; then the Lease is read again.
        for (;;) {
          const read = await this.#leases.get(signal);
          this.#see(read);
          if (read?.spec.holderIdentity !== this.#identity) return;
          const written = await this.#leases.write(read, { holderIdentity: "", leaseDurationSeconds: 1 }, signal);
          this.#see(written);
          if (written !== undefined) return this.#log.info("election.released", { lease: this.#leaseName });
        }
      });
      this.#mayHold = false;
    } catch (error) {
      this.#log.warn("election.release-failed", { lease: this.#leaseName, problem: errorText(error) });
    }
  }

  async #within<T>(limitMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limit = new AbortController();
    const done = new AbortController();
    void this.#wait(limitMs, done.signal).then(() => limit.abort(new Error(`no answer within ${Math.round(limitMs)} ms`)));
    try {
      return await work(limit.signal);
    } finally {
      done.abort();
    }
  }
}

/** As `metav1.MicroTime` is written. */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
