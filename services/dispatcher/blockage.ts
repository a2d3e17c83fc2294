import { assertNever } from "../../libs/contract/errors.ts";
import type { Clock } from "../../libs/runtime/clock.ts";
import type { BlockageKey, BlockageOptions, BlockReason, PostReport } from "./blockage-options.ts";
import { BlockageSpell } from "./blockage-spell.ts";

/**
 * Rule D8: what is blocked, per queue and namespace, and which messages wait for it. A key that is not here is open: it keeps nothing and delays
 * nobody. What a blockage does is `BlockageSpell`'s; keys know nothing of each other.
 *
 * Every item that may post, and every item that is handed out to be tried, comes back by `admit`, `report` or `drop`: a probe that nobody
 * reports would close its key for ever.
 */
export class Blockages<T> {
  readonly #options: BlockageOptions<T>;
  readonly #spells = new Map<string, BlockageSpell<T>>();
  /** Callbacks come when the state is consistent, one after the other: they may call this class again. */
  readonly #calls: (() => void)[] = [];
  #calling = false;
  #stopped = false;

  constructor(options: BlockageOptions<T>) {
    const { clock } = options;
    const after: Clock["after"] = (delayMs, call) => clock.after(delayMs, () => this.#within(call));
    this.#options = { ...options, clock: { nowMs: () => clock.nowMs(), after } };
  }

  /** Right before each POST. After `hold` the item is kept here, or was handed over. */
  admit(key: BlockageKey, item: T): "post" | "hold" {
    return this.#within(() => {
      const id = this.#options.id(item);
      this.#dropElsewhere(key, id);
      return this.#spells.get(nameOf(key))?.admit(id, item) ?? "post";
    });
  }

  /** After each POST whose answer was 2xx or blocked. After any other answer, or none at all, the item is dropped. */
  report(key: BlockageKey, item: T, outcome: PostReport): void {
    this.#within(() => {
      const id = this.#options.id(item);
      this.#dropElsewhere(key, id);
      const spell = this.#spells.get(nameOf(key));
      switch (outcome.kind) {
        case "accepted":
          return spell?.accepted(id);
        case "blocked":
          return (spell ?? this.#begin(key)).blocked(id, item, outcome);
        default:
          return assertNever(outcome);
      }
    });
  }

  /** The item was settled otherwise, or its handling failed. If it was the probe, the next one is tried at once. */
  drop(item: T): void {
    this.#within(() => this.#spellOf(this.#options.id(item))?.drop(this.#options.id(item)));
  }

  /** How often the item was refused, each time after others were accepted since its refusal before. */
  refusals(item: T): number {
    const id = this.#options.id(item);
    return this.#spellOf(id)?.refusals(id) ?? this.#options.refusedBefore?.(item) ?? 0;
  }

  /** Whose leases are to be renewed: what is held, and what is being tried. */
  *renewable(): IterableIterator<T> {
    for (const spell of this.#spells.values()) yield* spell.renewable();
  }

  /** A key is named while its last answer was a refusal, and until nothing waits for it. */
  reasons(): BlockReason[] {
    return [...this.#spells.values()].flatMap((spell) => (spell.isNamed ? [spell.reason()] : []));
  }

  /** Has all closed time told by `onClosedFor` that was not told yet. */
  count(): void {
    for (const spell of this.#spells.values()) spell.count();
  }

  /** Returns what is held, to be handed back. What would be held from here on is overdue: `stopped`. */
  stop(): T[] {
    this.#stopped = true;
    return [...this.#spells.values()].flatMap((spell) => spell.stop());
  }

  #begin(key: BlockageKey): BlockageSpell<T> {
    const spell = new BlockageSpell(key, this.#options, (call) => void this.#calls.push(call));
    if (this.#stopped) spell.stop();
    this.#spells.set(nameOf(key), spell);
    return spell;
  }

  #spellOf(id: string): BlockageSpell<T> | undefined {
    for (const spell of this.#spells.values()) if (spell.has(id)) return spell;
    return undefined;
  }

  /** The configuration may send a message to another namespace from one try to the next. */
  #dropElsewhere(key: BlockageKey, id: string): void {
    const spell = this.#spellOf(id);
    if (spell !== undefined && spell !== this.#spells.get(nameOf(key))) spell.drop(id);
  }

  #within<Result>(work: () => Result): Result {
    const result = work();
    for (const [name, spell] of this.#spells) if (spell.isOver) this.#spells.delete(name);
    if (this.#calling) return result;
    this.#calling = true;
    try {
      for (let call = this.#calls.shift(); call !== undefined; call = this.#calls.shift()) call();
    } finally {
      this.#calling = false;
    }
    return result;
  }
}

function nameOf({ queue, namespace }: BlockageKey): string {
  return `${queue}/${namespace}`;
}
