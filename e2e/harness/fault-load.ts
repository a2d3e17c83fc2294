import { expect, vi } from "vitest";
import { poll } from "../../scripts/cluster/polling.ts";
import type { TailedEvent } from "./event-tail.ts";
import { FaultReport, tally } from "./fault-report.ts";
import { type Installation, NOTHING } from "./installation.ts";
import type { Jobs } from "./jobs.ts";
import { haveAllEnded, timeToHealMs } from "./time-to-heal.ts";

/** The last of settling may be under way, or wait until a lease runs out and a sweep comes by. */
export const REST_MS = 180_000;

/** What a retry may take of a queue that lets one run at a time. */
const ONE_AT_A_TIME_MS = 8_000;

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
  #healsFromMs: number | undefined;

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

  /** From here on the time to heal is measured, over all jobs that have not ended. A fault of which this is not said has nothing to heal. */
  healing(): void {
    // The events' times are those of NATS, on the same machine.
    this.#healsFromMs = Date.now();
  }

  /** Waits until each has ended, then asserts that it did so as it had to, and once; writes the fault's row. */
  async expectEachOnce(row: { readonly fault: string; readonly what: string; readonly state?: string }): Promise<void> {
    const { fault, what, state = "succeeded" } = row;
    // A job that does not end, or nothing that heals, is the row's most important figure: it is written before anything throws.
    const unended = await this.#ended().catch((error: unknown) => error);
    if (unended === undefined) await this.#atRest();
    const violations = await this.#jobs.violations(this.ids);
    const healMs = this.#healMs();
    FaultReport.row({ fault, what, jobs: this.ids.length, healMs, ...tally(violations) });
    expect(violations, fault).toEqual([]);
    if (unended !== undefined) throw unended;
    expect(healMs, `${fault}: how long it took until all went on`).not.toBeNull();
    const records = await Promise.all(this.ids.map((id) => this.#millrace.record(id, this.#queue)));
    expect(Object.fromEntries(records.map((record, index) => [this.ids[index], record?.state])), fault).toEqual(
      Object.fromEntries(this.ids.map((id) => [id, state])),
    );
  }

  async #ended(): Promise<void> {
    const { events } = this.#millrace;
    const all = (): boolean => haveAllEnded(events.events, this.#hashes);
    await events.waitUntil(`the ends of ${this.ids[0]} …`, all, REST_MS + ONE_AT_A_TIME_MS * this.ids.length);
  }

  /** Whatever is not by then is asked for once more, and told. */
  async #atRest(): Promise<void> {
    const found = async (): Promise<true | undefined> => {
      // NATS may be on its way back.
      const violations = await this.#jobs.violations(this.ids).catch((error: unknown) => [error]);
      return violations.length === 0 || undefined;
    };
    await poll(found, { what: "rest", deadlineMs: REST_MS, intervalMs: 1_000 }).catch(() => {});
  }

  #healMs(): number | null | undefined {
    if (this.#healsFromMs === undefined) return undefined;
    return timeToHealMs(this.#millrace.events.events, this.#hashes, this.#healsFromMs);
  }

  /** When nothing else is under way. */
  static async expectNothingLeft(millrace: Installation): Promise<void> {
    // `expect.poll` knows only one test at a time, and some faults are played beside each other.
    await vi.waitFor(async () => expect(await millrace.leftovers()).toEqual(NOTHING), { timeout: REST_MS, interval: 250 });
  }
}
