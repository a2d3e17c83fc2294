import { Backoff } from "../../libs/runtime/backoff.ts";
import type { BlockCause } from "./block-cause.ts";
import type { BlockageKey, BlockageOptions, BlockReason, Overdue, PostBlocked } from "./blockage-options.ts";

/** What is known of an item from its first hold or its POST in a recovery until it is accepted, handed over or dropped. */
interface Known<T> {
  item: T;
  /** `granted`: handed out to be tried, and not yet back by `admit`. */
  place: "held" | "granted" | "posting";
  /** The term in which it was let go. */
  term: number;
  keptSinceMs: number | undefined;
  cancelLate: (() => void) | undefined;
  refusals: number;
  /** How many others had been accepted at its last refusal that counted. */
  acceptedBefore: number;
}

const FIRST_PROBE_MS = 200;
const LONGEST_PROBE_MS = 5_000;
/** A recovery that lets so many through at once is over. */
const OPEN_WINDOW = 16;
/** D8: then it is the message's own fault. */
const REFUSALS_AT_MOST = 5;

/**
 * One key's blockage, from its first refusal until it is as open as before.
 *
 *   closed (a POST was blocked) → recovering (any POST was accepted) → over (16 accepted and nothing held, or no item for `holdForMs`)
 *     ↑ ↺ probe blocked              │
 *     └──────────────────────────────┘ a POST of this recovery was blocked
 *
 * closed: nothing is posted but one probe at a time, the front of the held items, after a backoff. A refused item goes to the back, so that
 * probing rotates. recovering: as many POSTs at once as were accepted in it, and one; a full quota that frees one slot gets two, not all.
 * A POST that began before the last change of state may end a block; its refusal only holds its item.
 */
export class BlockageSpell<T> {
  readonly #key: BlockageKey;
  readonly #options: BlockageOptions<T>;
  readonly #later: (call: () => void) => void;
  readonly #backoff: Backoff;
  readonly #sinceMs: number;
  readonly #known = new Map<string, Known<T>>();
  /** Front = the next to be tried. */
  readonly #held = new Map<string, Known<T>>();
  #kept = 0;
  #why = "";
  #status = 0;
  #cause: BlockCause | undefined;
  #countedUntilMs: number;
  #state: "closed" | "recovering" | "over" = "closed";
  /** Counts the changes of state: what was let go in an earlier term says nothing about this one. */
  #term = 0;
  /** Items of this term that are let go and not yet reported: the probe, or what the window lets through. */
  #out = 0;
  #window = 1;
  #accepted = 0;
  #probeAtMs: number;
  #cancelWake: (() => void) | undefined;
  #stopped = false;

  constructor(key: BlockageKey, options: BlockageOptions<T>, later: (call: () => void) => void) {
    this.#key = key;
    this.#options = options;
    this.#later = later;
    this.#sinceMs = options.clock.nowMs();
    this.#countedUntilMs = this.#sinceMs;
    const random = options.random === undefined ? {} : { random: options.random };
    this.#backoff = new Backoff({ initialMs: FIRST_PROBE_MS, maxMs: LONGEST_PROBE_MS, ...random });
    this.#probeAtMs = this.#sinceMs + this.#backoff.nextMs();
    later(() => options.onBlocked?.(this.reason()));
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  has(id: string): boolean {
    return this.#known.has(id);
  }

  refusals(id: string): number | undefined {
    return this.#known.get(id)?.refusals;
  }

  *renewable(): IterableIterator<T> {
    for (const { item } of this.#known.values()) yield item;
  }

  /** Something waits, or the last answer was a refusal. A dispatcher that has stopped knows no more of it. */
  get isNamed(): boolean {
    return (this.#state === "closed" && !this.#stopped) || this.#kept > 0;
  }

  reason(): BlockReason {
    const forMs = this.#options.clock.nowMs() - this.#sinceMs;
    return { ...this.#key, why: this.#why, status: this.#status, forMs, held: this.#kept };
  }

  /** What it was closed until now goes to the reason of that time. */
  count(): void {
    const nowMs = this.#options.clock.nowMs();
    if (this.#state === "closed" && this.#cause !== undefined && !this.#stopped) {
      this.#options.onClosedFor?.(this.#key, this.#cause, nowMs - this.#countedUntilMs);
    }
    this.#countedUntilMs = nowMs;
  }

  admit(id: string, item: T): "post" | "hold" {
    const verdict = this.#admit(id, item);
    this.#carryOn();
    return verdict;
  }

  accepted(id: string): void {
    this.#accepted += 1;
    if (this.#state === "closed") {
      this.#backoff.reset();
      this.#turn("recovering");
    } else if (this.#isOut(this.#known.get(id))) {
      this.#window += 1;
    }
    this.#forget(id);
    this.#carryOn();
  }

  blocked(id: string, item: T, { why, status, cause, counts }: PostBlocked): void {
    this.count();
    this.#why = why;
    this.#status = status;
    this.#cause = cause;
    const known = this.#know(id, item);
    if (this.#isOpen() || this.#isOut(known)) {
      this.#turn("closed");
      this.#probeAtMs = this.#options.clock.nowMs() + this.#backoff.nextMs();
    }
    if (counts && this.#accepted > known.acceptedBefore) {
      known.refusals += 1;
      known.acceptedBefore = this.#accepted;
    }
    if (known.refusals < REFUSALS_AT_MOST) this.#hold(id, known);
    else {
      this.#forget(id);
      this.#later(() => this.#options.onRefused(known.item, why));
    }
    this.#carryOn();
  }

  drop(id: string): void {
    this.#forget(id);
    this.#carryOn();
  }

  stop(): T[] {
    this.count();
    this.#stopped = true;
    this.#cancelWake?.();
    const held = [...this.#held].map(([id, { item }]) => {
      this.#forget(id);
      return item;
    });
    for (const { cancelLate } of this.#known.values()) cancelLate?.();
    return held;
  }

  #admit(id: string, item: T): "post" | "hold" {
    const known = this.#known.get(id);
    if (known !== undefined) {
      // A delivery that comes again brings a newer reply subject.
      known.item = item;
      if (known.place !== "granted") return "hold";
      if (this.#isOut(known)) {
        known.place = "posting";
        return "post";
      }
    }
    if (this.#isOpen() && known === undefined) return "post";
    if (!this.#hasRoom()) {
      this.#hold(id, this.#know(id, item));
      return "hold";
    }
    this.#letGo(this.#know(id, item), "posting");
    return "post";
  }

  #isOpen(): boolean {
    return this.#state === "recovering" && this.#window >= OPEN_WINDOW;
  }

  #hasRoom(): boolean {
    if (this.#state === "recovering") return this.#out < this.#window;
    return this.#out === 0 && this.#options.clock.nowMs() >= this.#probeAtMs;
  }

  #isOut(known: Known<T> | undefined): boolean {
    return known?.term === this.#term;
  }

  #turn(state: "closed" | "recovering"): void {
    this.count();
    this.#state = state;
    this.#term += 1;
    this.#out = 0;
    this.#window = 1;
  }

  #know(id: string, item: T): Known<T> {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const refusals = this.#options.refusedBefore?.(item) ?? 0;
    const fresh: Known<T> = {
      item,
      place: "posting",
      term: -1,
      keptSinceMs: undefined,
      cancelLate: undefined,
      refusals,
      // A first refusal needs nobody who was accepted before it; one that follows an earlier one does, wherever that one was.
      acceptedBefore: refusals === 0 ? -1 : this.#accepted,
    };
    this.#known.set(id, fresh);
    return fresh;
  }

  #letGo(known: Known<T>, place: "granted" | "posting"): void {
    known.place = place;
    known.term = this.#term;
    this.#out += 1;
  }

  #forget(id: string): void {
    const known = this.#known.get(id);
    if (known === undefined) return;
    if (this.#isOut(known)) this.#out -= 1;
    if (known.keptSinceMs !== undefined) this.#kept -= 1;
    known.cancelLate?.();
    this.#held.delete(id);
    this.#known.delete(id);
  }

  #handOver(id: string, { item, refusals }: Known<T>, because: Overdue): void {
    this.#forget(id);
    this.#later(() => this.#options.onOverdue(item, because, refusals));
  }

  /** At the back, unless the key keeps enough or has kept this one for long enough. */
  #hold(id: string, known: Known<T>): void {
    const because = this.#whyNot(known);
    if (because !== undefined) {
      this.#handOver(id, known, because);
      return;
    }
    if (known.keptSinceMs === undefined) {
      const { clock, holdForMs } = this.#options;
      known.keptSinceMs = clock.nowMs();
      known.cancelLate = clock.after(holdForMs, () => this.#late(id, known));
      this.#kept += 1;
    }
    known.place = "held";
    this.#held.delete(id);
    this.#held.set(id, known);
  }

  #whyNot({ keptSinceMs, item }: Known<T>): Overdue | undefined {
    const { clock, holdAtMost, holdForMs } = this.#options;
    if (this.#stopped) return "stopped";
    if (keptSinceMs === undefined) return this.#kept >= Math.max(1, holdAtMost(this.#key, item)) ? "full" : undefined;
    return clock.nowMs() - keptSinceMs >= holdForMs ? "late" : undefined;
  }

  /** What is being tried at that moment is late when it comes back to be held. */
  #late(id: string, known: Known<T>): void {
    if (known.place !== "held") return;
    this.#handOver(id, known, "late");
    this.#carryOn();
  }

  #carryOn(): void {
    if (!this.#stopped) {
      this.#tryHeld();
      this.#arm();
    }
  }

  #tryHeld(): void {
    const tried: T[] = [];
    for (const [id, known] of this.#held) {
      if (!this.#hasRoom()) break;
      this.#held.delete(id);
      this.#letGo(known, "granted");
      tried.push(known.item);
    }
    const [probe] = tried;
    if (probe === undefined) return;
    if (this.#state === "closed") this.#later(() => this.#options.onProbe(probe));
    else this.#later(() => this.#options.onRelease(tried));
  }

  #arm(): void {
    const { clock, holdForMs } = this.#options;
    this.#cancelWake?.();
    this.#cancelWake = undefined;
    if (this.#known.size === 0) {
      if (this.#isOpen()) this.#state = "over";
      else this.#cancelWake = clock.after(holdForMs, () => this.#expire());
    } else if (this.#state === "closed" && this.#out === 0 && this.#held.size > 0) {
      this.#cancelWake = clock.after(this.#probeAtMs - clock.nowMs(), () => this.#carryOn());
    }
  }

  #expire(): void {
    this.count();
    this.#state = "over";
  }
}
