import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeClock } from "../../libs/runtime/testing/fake-clock.ts";
import { Blockages } from "./blockage.ts";
import type { BlockageKey, PostReport } from "./blockage-options.ts";

interface Item {
  readonly id: string;
}
const item = (id: string): Item => ({ id });
const ACCEPTED: PostReport = { kind: "accepted" };
const FORBIDDEN: PostReport = { kind: "blocked", why: "forbidden", status: 403, cause: "forbidden", counts: true };
const FULL: PostReport = { kind: "blocked", why: "exceeded quota", status: 403, cause: "quota", counts: false };

const key = fc.constantFrom("full", "flaky", "open");
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("arrive"), key }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("answer"), pick: fc.nat(), accept: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("admit"), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop"), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("redeliver"), pick: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("advance"), byMs: fc.constantFrom(50, 200, 1_000, 5_000, 60_000) }) },
);
type State = "posting" | "held" | "granted" | "accepted" | "overdue" | "refused" | "dropped";
const HELD_AT_MOST = 3;

/** What a caller sees of each item; every change is checked against what may follow what. */
class Model {
  readonly clock = new FakeClock();
  readonly states = new Map<string, State>();
  readonly probe = new Map<string, string>();
  readonly blockages = new Blockages<Item>({
    clock: this.clock,
    id: ({ id }) => id,
    holdAtMost: () => HELD_AT_MOST,
    holdForMs: 120_000,
    random: () => 0.5,
    onProbe: ({ id }) => {
      const { namespace } = this.key(id);
      expect(this.probe.get(namespace), "one probe at a time").toBeUndefined();
      this.probe.set(namespace, id);
      this.#become(id, ["held"], "granted");
    },
    onRelease: (items) => {
      for (const { id } of items) this.#become(id, ["held"], "granted");
    },
    onOverdue: ({ id }) => this.#become(id, ["held"], "overdue"),
    onRefused: ({ id }) => this.#become(id, ["held"], "refused"),
  });

  key(id: string): BlockageKey {
    return { queue: "default", namespace: id.split("-")[0] ?? "" };
  }
  in(...states: readonly State[]): string[] {
    return [...this.states].flatMap(([id, state]) => (states.includes(state) ? [id] : []));
  }
  admit(id: string): void {
    // The callbacks may come before the verdict is returned.
    const before = this.states.get(id);
    this.states.set(id, "held");
    if (this.blockages.admit(this.key(id), item(id)) === "post") {
      expect(this.states.get(id)).toBe("held");
      this.states.set(id, "posting");
    } else {
      expect(this.key(id).namespace, "other keys are never delayed").not.toBe("open");
      if (before === "granted") this.#probeIsBack(id);
    }
  }
  answer(id: string, accept: boolean): void {
    const key = this.key(id);
    if (accept) {
      this.probe.delete(key.namespace);
      this.states.set(id, "accepted");
      this.blockages.report(key, item(id), ACCEPTED);
    } else {
      this.#probeIsBack(id);
      this.states.set(id, "held");
      this.blockages.report(key, item(id), key.namespace === "full" ? FULL : FORBIDDEN);
    }
  }
  drop(id: string): void {
    this.#probeIsBack(id);
    this.states.set(id, "dropped");
    this.blockages.drop(item(id));
  }
  check(): void {
    const kept = new Set([...this.blockages.renewable()].map(({ id }) => id));
    for (const id of this.in("held", "granted")) expect(kept.has(id), `${id} is not lost`).toBe(true);
    for (const id of this.in("accepted", "overdue", "refused", "dropped")) expect(kept.has(id), `${id} is forgotten`).toBe(false);
    for (const { held } of this.blockages.reasons()) expect(held).toBeLessThanOrEqual(HELD_AT_MOST);
  }
  #probeIsBack(id: string): void {
    const { namespace } = this.key(id);
    if (this.probe.get(namespace) === id) this.probe.delete(namespace);
  }
  #become(id: string, from: readonly State[], to: State): void {
    expect(from, `${id} becomes ${to}`).toContain(this.states.get(id));
    this.states.set(id, to);
  }
}
const pickOf = (ids: readonly string[], pick: number): string | undefined => ids[pick % ids.length];

function play(model: Model, steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[]): void {
  for (const [index, step] of steps.entries()) {
    if ("key" in step) model.admit(`${step.key}-${index}`);
    else if ("accept" in step) {
      const id = pickOf(model.in("posting"), step.pick);
      const odds = id?.startsWith("open") === true ? 10 : id?.startsWith("full") === true ? 2 : 7;
      if (id !== undefined) model.answer(id, step.accept < odds);
    } else if ("byMs" in step) model.clock.advance(step.byMs);
    else if (step.kind === "drop") {
      const id = pickOf(model.in("held", "granted", "posting"), step.pick);
      if (id !== undefined) model.drop(id);
    } else {
      const id = pickOf(model.in(step.kind === "redeliver" ? "held" : "granted"), step.pick);
      if (id !== undefined) model.admit(id);
    }
    model.check();
  }
}

describe("D8: whatever happens", () => {
  it("nothing is lost: what was admitted is accepted, handed over, dropped or held, and comes out when the namespaces open", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const model = new Model();
        play(model, steps);
        for (let turn = 0; turn < 200 && model.in("held", "granted", "posting").length > 0; turn += 1) {
          for (const id of model.in("granted")) model.admit(id);
          for (const id of model.in("posting")) model.answer(id, true);
          model.check();
          if (model.in("granted").length === 0) model.clock.advance(5_000);
        }
        expect(model.in("held", "granted", "posting")).toEqual([]);
        model.clock.advance(120_000);
        expect(model.blockages.reasons()).toEqual([]);
        expect(model.clock.pending).toBe(0);
      }),
      { numRuns: 400, seed: 8 },
    );
  });

  it("stop returns exactly what is held", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const model = new Model();
        play(model, steps);
        const held = model.in("held");
        const returned = model.blockages.stop().map(({ id }) => id);
        expect(returned.toSorted()).toEqual(held.toSorted());
        for (const id of held) model.states.set(id, "dropped");
        expect(model.clock.pending).toBe(0);
        for (const id of model.in("posting")) model.answer(id, false);
        for (const id of model.in("granted")) model.admit(id);
        expect(model.in("held", "granted")).toEqual([]);
        expect(model.clock.pending).toBe(0);
      }),
      { numRuns: 200, seed: 9 },
    );
  });
});
