import { expect, vi } from "vitest";
import { poll } from "../../scripts/cluster/polling.ts";
import type { TailedEvent } from "./event-tail.ts";
import { FaultReport, tally } from "./fault-report.ts";
import { type Installation, NOTHING } from "./installation.ts";
import type { Jobs } from "./jobs.ts";

const ENDS: ReadonlySet<string> = new Set(["succeeded", "dead", "cancelled"]);
const HEALTHY: ReadonlySet<string> = new Set(["created", ...ENDS]);

interface FaultLoadOptions {
  readonly millrace: Installation;
  readonly jobs: Jobs;
  readonly messages: readonly { readonly id: string }[];
  /** @default "default" */
  readonly queue?: string;
}

/** The jobs that are under way while a fault is played: published at once, asked at the end whether each ended once. */
export class FaultLoad {
  readonly #ids: string[] = [];
  readonly #millrace: Installation;
  readonly #jobs: Jobs;
  readonly #queue: string;
  readonly #hashes = new Set<string>();
  #healing: Promise<number> | undefined;

  private constructor({ millrace, jobs, queue = "default" }: Omit<FaultLoadOptions, "messages">) {
    this.#millrace = millrace;
    this.#jobs = jobs;
    this.#queue = queue;
  }

  /** For a stream of messages: one load, to which `add` adds. */
  static begin(options: Omit<FaultLoadOptions, "messages">): FaultLoad {
    return new FaultLoad(options);
  }

  static async publish({ messages, ...options }: FaultLoadOptions): Promise<FaultLoad> {
    const load = new FaultLoad(options);
    await Promise.all(messages.map((message) => load.add(message)));
    return load;
  }

  get ids(): readonly string[] {
    return this.#ids;
  }

  async add(message: { readonly id: string }): Promise<void> {
    this.#ids.push(message.id);
    this.#hashes.add(this.#millrace.hash(message.id, this.#queue));
    await this.#jobs.publish(message.id, message, { queue: this.#queue });
  }

  /** Resolves with the events of these jobs of a kind once there are so many. */
  seen(kind: string, count: number, timeoutMs?: number): Promise<TailedEvent[]> {
    const matches = (event: TailedEvent): boolean => event.kind === kind && this.#hashes.has(event.hash);
    return this.#millrace.events.waitFor(`${kind} of ${this.ids[0]} …`, matches, count, timeoutMs);
  }

  /** How many events of these jobs there are of a kind. */
  count(kind: string): number {
    return this.#millrace.events.events.filter((event) => event.kind === kind && this.#hashes.has(event.hash)).length;
  }

  /** From here on the time to heal is measured: until the first creation or outcome that is recorded. */
  healing(): void {
    const beganMs = performance.now();
    const before = new Set(this.#millrace.events.events);
    const isNew = (event: TailedEvent): boolean => !before.has(event) && HEALTHY.has(event.kind) && this.#hashes.has(event.hash);
    this.#healing = this.#millrace.events
      .waitFor(`the first word of ${this.ids[0]} … after the fault`, isNew)
      .then(() => performance.now() - beganMs);
    // It is awaited at the end; until then another assertion may fail first.
    this.#healing.catch(() => {});
  }

  /** Waits until each has ended, then asserts that it did so as it had to, and once; writes the fault's row. */
  async expectEachOnce(row: { readonly fault: string; readonly what: string; readonly state?: string }): Promise<void> {
    const { fault, what, state = "succeeded" } = row;
    const ended = new Set<string>();
    const isFirstEnd = ({ hash, kind }: TailedEvent): boolean => {
      if (ENDS.has(kind) && this.#hashes.has(hash)) ended.add(hash);
      return ended.size === this.#hashes.size;
    };
    // A job that does not end, or nothing that heals, is the row's most important figure: it is written before anything throws.
    const waited = await Promise.allSettled([
      this.#millrace.events.waitFor(`the ends of ${this.ids[0]} …`, isFirstEnd, 1, 180_000 + 2_000 * this.ids.length),
      this.#healing,
    ]);
    const healMs = Math.round((waited[1].status === "fulfilled" ? waited[1].value : undefined) ?? 0);
    // The last of settling may still be under way, or wait for a lease to run out.
    const atRest = async (): Promise<true | undefined> =>
      (await this.#jobs.violations(this.ids)).length === 0 ? true : undefined;
    await poll(atRest, { what: "rest", deadlineMs: 60_000, intervalMs: 1_000 }).catch(() => {});
    const violations = await this.#jobs.violations(this.ids);
    FaultReport.row({ fault, what, jobs: this.ids.length, healMs, ...tally(violations) });
    expect(violations, fault).toEqual([]);
    expect(
      waited.flatMap((wait) => (wait.status === "rejected" ? [String(wait.reason)] : [])),
      fault,
    ).toEqual([]);
    const records = await Promise.all(this.ids.map((id) => this.#millrace.record(id, this.#queue)));
    expect(Object.fromEntries(records.map((record, index) => [this.ids[index], record?.state])), fault).toEqual(
      Object.fromEntries(this.ids.map((id) => [id, state])),
    );
  }

  /** When nothing else is under way. */
  static async expectNothingLeft(millrace: Installation): Promise<void> {
    // `expect.poll` knows only one test at a time, and some faults are played beside each other.
    await vi.waitFor(async () => expect(await millrace.leftovers()).toEqual(NOTHING), { timeout: 60_000, interval: 250 });
  }
}
