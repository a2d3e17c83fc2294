import { describe, expect, it } from "vitest";
import { FakeClock } from "../../libs/runtime/testing/fake-clock.ts";
import { Blockages } from "./blockage.ts";
import type { BlockageKey, BlockReason, PostReport } from "./blockage-options.ts";

interface Item {
  readonly id: string;
  readonly delivery: number;
}
const item = (id: string, delivery = 1): Item => ({ id, delivery });

const JOBS: BlockageKey = { queue: "default", namespace: "jobs" };
const OTHER: BlockageKey = { queue: "default", namespace: "other" };
const ACCEPTED: PostReport = { kind: "accepted" };
const FORBIDDEN: PostReport = { kind: "blocked", why: "forbidden", status: 403, cause: "forbidden", counts: true };
const FULL: PostReport = { kind: "blocked", why: "exceeded quota", status: 403, cause: "quota", counts: false };

/** Blockages without jitter (200, 400, … ms), and all that they handed out. */
class Bench {
  readonly clock = new FakeClock();
  readonly probes: string[] = [];
  readonly releases: string[][] = [];
  readonly overdue: string[] = [];
  readonly refused: string[] = [];
  /** What a message in RETRY says of itself. */
  readonly refusedBefore = new Map<string, number>();
  readonly begun: BlockReason[] = [];
  readonly closed: string[] = [];
  readonly blockages: Blockages<Item>;

  constructor(
    options: { holdAtMost?: (key: BlockageKey) => number; random?: () => number; onProbe?: (item: Item) => void } = {},
  ) {
    this.blockages = new Blockages<Item>({
      clock: this.clock,
      id: ({ id }) => id,
      holdAtMost: options.holdAtMost ?? (() => 100),
      holdForMs: 120_000,
      random: options.random ?? (() => 1),
      onProbe: (item) => {
        this.probes.push(item.id);
        options.onProbe?.(item);
      },
      onRelease: (items) => void this.releases.push(items.map(({ id }) => id)),
      refusedBefore: ({ id }) => this.refusedBefore.get(id) ?? 0,
      onOverdue: ({ id }, because, refusals) => {
        this.overdue.push(`${id} ${because}`);
        this.refusedBefore.set(id, refusals);
      },
      onRefused: ({ id }, why) => void this.refused.push(`${id} ${why}`),
      onBlocked: (reason) => void this.begun.push(reason),
      onClosedFor: ({ namespace }, cause, closedMs) =>
        void (closedMs > 0 && this.closed.push(`${namespace} ${cause} ${closedMs}`)),
    });
  }
  admit(id: string, key = JOBS): "post" | "hold" {
    return this.blockages.admit(key, item(id));
  }
  report(id: string, outcome: PostReport, key = JOBS): void {
    this.blockages.report(key, item(id), outcome);
  }
  post(id: string, outcome: PostReport, key = JOBS): void {
    expect(this.admit(id, key)).toBe("post");
    this.report(id, outcome, key);
  }
  /** `jobs` is closed by the refusal of the first; the others are held behind it. */
  closedWith(...[first = "", ...others]: string[]): this {
    this.post(first, FULL);
    for (const id of others) expect(this.admit(id)).toBe("hold");
    return this;
  }
  renewable(): string[] {
    return [...this.blockages.renewable()].map(({ id }) => id);
  }
}

describe("D8: a blockage begins", () => {
  it("an open key posts and keeps nothing", () => {
    const bench = new Bench();
    bench.post("a", ACCEPTED);
    bench.post("b", ACCEPTED);
    expect(bench.blockages.reasons()).toEqual([]);
    expect(bench.renewable()).toEqual([]);
    expect(bench.clock.pending).toBe(0);
  });

  it("a blocked POST closes its key: its item and those that come are held, and the reason is named", () => {
    const bench = new Bench();
    bench.post("a", FORBIDDEN);
    expect(bench.admit("b")).toBe("hold");
    bench.clock.advance(150);
    expect(bench.blockages.reasons()).toEqual([{ ...JOBS, why: "forbidden", status: 403, forMs: 150, held: 2 }]);
    expect(bench.renewable()).toEqual(["a", "b"]);
    expect(bench.probes).toEqual([]);
  });

  it("is told once, though it recovers and closes anew", () => {
    const bench = new Bench().closedWith("a", "b", "c");
    bench.clock.advance(200);
    bench.post("a", ACCEPTED);
    bench.post("b", FORBIDDEN);
    expect(bench.begun).toEqual([{ ...JOBS, why: "exceeded quota", status: 403, forMs: 0, held: 1 }]);
    expect(bench.blockages.reasons()).toMatchObject([{ why: "forbidden", forMs: 200, held: 2 }]);
  });

  it("other keys are not delayed: neither another namespace nor another queue", () => {
    const bench = new Bench().closedWith("a", "b");
    bench.post("c", ACCEPTED, OTHER);
    bench.post("d", ACCEPTED, { queue: "reports", namespace: "jobs" });
    bench.post("e", FORBIDDEN, OTHER);
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["a", "e"]);
    bench.post("e", ACCEPTED, OTHER);
    expect(bench.releases).toEqual([]);
  });
});

describe("D8: probing", () => {
  it("one probe at a time, rotating: a refused one goes to the back", () => {
    const bench = new Bench().closedWith("a", "b", "c");
    for (const probe of ["a", "b", "c", "a", "b"]) {
      bench.clock.advance(5_000);
      expect(bench.probes.at(-1)).toBe(probe);
      expect(bench.admit("a-newcomer")).toBe("hold");
      bench.blockages.drop(item("a-newcomer"));
      bench.post(probe, FULL);
    }
    expect(bench.probes).toHaveLength(5);
  });

  it("backs off from 200 ms, doubling to 5 s, and starts again when the block ends", () => {
    const bench = new Bench().closedWith("a");
    for (const delayMs of [200, 400, 800, 1_600, 3_200, 5_000, 5_000]) {
      const before = bench.probes.length;
      bench.clock.advance(delayMs - 1);
      expect(bench.probes).toHaveLength(before);
      bench.clock.advance(1);
      expect(bench.probes).toHaveLength(before + 1);
      bench.post("a", FULL);
    }
    bench.clock.advance(5_000);
    bench.post("a", ACCEPTED);
    bench.post("b", FULL);
    bench.clock.advance(200);
    expect(bench.probes.at(-1)).toBe("b");
  });

  it("the backoff is jittered", () => {
    const bench = new Bench({ random: () => 0 }).closedWith("a");
    bench.clock.advance(100);
    expect(bench.probes).toEqual(["a"]);
  });

  it("a probe that vanishes makes room for the next at once", () => {
    const bench = new Bench().closedWith("a", "b", "c");
    bench.clock.advance(200);
    bench.blockages.drop(item("a"));
    expect(bench.probes).toEqual(["a", "b"]);
    expect(bench.admit("b")).toBe("post");
    bench.blockages.drop(item("b"));
    expect(bench.probes).toEqual(["a", "b", "c"]);
  });

  it("a held item that is dropped is never tried", () => {
    const bench = new Bench().closedWith("a", "b");
    bench.blockages.drop(item("a"));
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["b"]);
  });

  it("with nothing held, the next that comes is the probe, not before it is due", () => {
    const bench = new Bench().closedWith("a");
    bench.blockages.drop(item("a"));
    bench.clock.advance(199);
    expect(bench.admit("b")).toBe("hold");
    bench.blockages.drop(item("b"));
    bench.clock.advance(1);
    expect(bench.admit("c")).toBe("post");
    expect(bench.admit("d")).toBe("hold");
    bench.report("c", FULL);
    bench.clock.advance(400);
    expect(bench.probes).toEqual(["d"]);
  });

  it("POSTs that began before the block: their refusal holds them and lengthens nothing", () => {
    const bench = new Bench();
    for (const id of ["a", "b", "c"]) expect(bench.admit(id)).toBe("post");
    for (const id of ["a", "b", "c"]) bench.report(id, FULL);
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["a"]);
    expect(bench.blockages.reasons()).toMatchObject([{ held: 3 }]);
  });
});

describe("D8: any 2xx ends a block", () => {
  it("also that of a POST which began before it", () => {
    const bench = new Bench();
    expect(bench.admit("early")).toBe("post");
    bench.closedWith("a", "b");
    bench.report("early", ACCEPTED);
    expect(bench.releases).toEqual([["a"]]);
    expect(bench.admit("a")).toBe("post");
  });

  it("what was held is let go gradually: one, and two for each that is accepted", () => {
    const bench = new Bench().closedWith(..."abcdefghij");
    bench.clock.advance(200);
    bench.post("a", ACCEPTED);
    expect(bench.releases).toEqual([["b"]]);
    bench.post("b", ACCEPTED);
    expect(bench.releases.slice(1)).toEqual([["c", "d"]]);
    bench.post("c", ACCEPTED);
    bench.post("d", ACCEPTED);
    expect(bench.releases.slice(2)).toEqual([
      ["e", "f"],
      ["g", "h"],
    ]);
  });

  it("who comes meanwhile stands behind those that are held, then goes by the same window", () => {
    const bench = new Bench().closedWith("a", "b");
    bench.clock.advance(200);
    bench.post("a", ACCEPTED);
    expect(bench.admit("c")).toBe("hold");
    bench.post("b", ACCEPTED);
    expect(bench.releases).toEqual([["b"], ["c"]]);
    expect(bench.admit("d")).toBe("post");
    expect(bench.admit("e")).toBe("hold");
  });

  it("after 16 that were accepted the key is open, and nothing of the block is left", () => {
    const bench = new Bench().closedWith("a");
    bench.clock.advance(200);
    bench.post("a", ACCEPTED);
    expect(bench.blockages.reasons()).toEqual([]);
    for (let more = 0; more < 15; more += 1) bench.post(`m${more}`, ACCEPTED);
    expect(bench.clock.pending).toBe(0);
    for (let more = 0; more < 50; more += 1) expect(bench.admit(`n${more}`)).toBe("post");
  });

  it("the last that are still being tried do not delay who comes; one that is refused closes the key", () => {
    const bench = new Bench().closedWith("a", "b", "c", "slow");
    bench.clock.advance(200);
    for (const id of "abc") bench.post(id, ACCEPTED);
    for (let more = 0; more < 13; more += 1) bench.post(`m${more}`, ACCEPTED);
    for (let more = 0; more < 50; more += 1) expect(bench.admit(`n${more}`)).toBe("post");
    expect(bench.renewable()).toEqual(["slow"]);
    bench.report("n0", FULL);
    expect(bench.admit("o")).toBe("hold");
  });

  it("what was accepted from before the recovery lets nobody more through", () => {
    const bench = new Bench();
    for (const id of ["e", "f", "g"]) expect(bench.admit(id)).toBe("post");
    bench.closedWith("a", "b", "c");
    for (const id of ["e", "f", "g"]) bench.report(id, ACCEPTED);
    expect(bench.releases).toEqual([["a"]]);
  });

  it("each recovery begins with one; the key is named while something waits", () => {
    const bench = new Bench().closedWith(..."abcdefgh");
    bench.clock.advance(200);
    for (const id of "abcd") bench.post(id, ACCEPTED);
    expect(bench.blockages.reasons()).toMatchObject([{ held: 4 }]);
    bench.post("e", FULL);
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["a", "e"]);
    bench.post("e", ACCEPTED);
    for (const id of "fgh") expect(bench.admit(id)).toBe(id === "f" ? "post" : "hold");
  });

  it("a refusal of the recovery closes the key again: what was let go but has not begun is held", () => {
    const bench = new Bench().closedWith(..."abcdefgh");
    bench.clock.advance(200);
    for (const id of "abcd") bench.post(id, ACCEPTED);
    expect(bench.releases.at(-1)).toEqual(["g", "h"]);
    bench.post("e", FULL);
    for (const id of "fgh") expect(bench.admit(id)).toBe("hold");
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["a", "e"]);
  });

  it("a refusal from before the recovery closes nothing", () => {
    const bench = new Bench();
    expect(bench.admit("early")).toBe("post");
    bench.closedWith("a", "b", "c");
    bench.clock.advance(200);
    bench.post("a", ACCEPTED);
    bench.report("early", FULL);
    bench.post("b", ACCEPTED);
    expect(bench.releases.at(-1)).toEqual(["c", "early"]);
  });

  it("a full quota that frees one slot at a time is asked twice for it, not by all", () => {
    const bench = new Bench();
    const ids = Array.from({ length: 40 }, (_, index) => `m${index}`);
    bench.closedWith(...ids);
    let free = 0;
    let accepted = 0;
    let posts = 0;
    const post = (id: string): void => {
      if (bench.admit(id) === "hold") return;
      posts += 1;
      if (free > 0) accepted += 1;
      bench.report(id, free > 0 ? ACCEPTED : FULL);
      free = Math.max(0, free - 1);
    };
    for (let slot = 1; slot <= 40; slot += 1) {
      free = 1;
      const before = posts;
      while (accepted < slot) {
        bench.clock.advance(200);
        for (const id of [...bench.probes.splice(0), ...bench.releases.splice(0).flat()]) post(id);
        for (const id of bench.releases.splice(0).flat()) post(id);
      }
      expect(posts - before).toBeLessThanOrEqual(2);
    }
    expect(bench.overdue).toEqual([]);
    expect(bench.refused).toEqual([]);
    expect(bench.renewable()).toEqual([]);
  });
});

describe("D8: no more than a share of the slots, no longer than ack_wait", () => {
  it("holds at most so many of a key, the probe included, and at least one", () => {
    const bench = new Bench({ holdAtMost: ({ namespace }) => (namespace === "jobs" ? 2 : 0) });
    bench.closedWith("a", "b", "c");
    bench.clock.advance(200);
    expect(bench.admit("d")).toBe("hold");
    bench.post("a", FULL);
    expect(bench.overdue).toEqual(["c full", "d full"]);
    bench.post("x", FULL, OTHER);
    expect(bench.admit("y", OTHER)).toBe("hold");
    expect(bench.overdue.slice(2)).toEqual(["y full"]);
    expect(bench.renewable().toSorted()).toEqual(["a", "b", "x"]);
  });

  it("a share that shrinks or grows live holds for those that come", () => {
    let most = 1;
    const bench = new Bench({ holdAtMost: () => most });
    bench.closedWith("a", "b");
    most = 2;
    expect(bench.admit("c")).toBe("hold");
    expect(bench.overdue).toEqual(["b full"]);
    expect(bench.renewable()).toEqual(["a", "c"]);
  });

  it("what was held for ack_wait is overdue, counted from its first hold", () => {
    const bench: Bench = new Bench({ onProbe: ({ id }) => bench.post(id, FULL) });
    bench.closedWith("a");
    bench.clock.advance(60_000);
    bench.admit("b");
    bench.clock.advance(59_999);
    expect(bench.overdue).toEqual([]);
    bench.clock.advance(1);
    expect(bench.overdue).toEqual(["a late"]);
    bench.clock.advance(60_000);
    expect(bench.overdue).toEqual(["a late", "b late"]);
  });

  it("an item that is being tried when its time is over is overdue when it is refused", () => {
    const bench = new Bench().closedWith("a");
    bench.clock.advance(200);
    expect(bench.admit("a")).toBe("post");
    bench.clock.advance(120_000);
    expect(bench.overdue).toEqual([]);
    bench.report("a", FULL);
    expect(bench.overdue).toEqual(["a late"]);
    expect(bench.renewable()).toEqual([]);
  });

  it("a key that nobody asks about for ack_wait is forgotten", () => {
    const bench = new Bench().closedWith("a");
    bench.blockages.drop(item("a"));
    bench.clock.advance(119_999);
    expect(bench.blockages.reasons()).toHaveLength(1);
    bench.clock.advance(1);
    expect(bench.blockages.reasons()).toEqual([]);
    expect(bench.clock.pending).toBe(0);
    for (const id of "bcd") expect(bench.admit(id)).toBe("post");
  });

  it("also when all that it held was overdue", () => {
    const bench: Bench = new Bench({ onProbe: ({ id }) => bench.post(id, FULL) });
    bench.closedWith("a");
    bench.clock.advance(239_999);
    expect(bench.blockages.reasons()).toMatchObject([{ held: 0 }]);
    bench.clock.advance(1);
    expect(bench.blockages.reasons()).toEqual([]);
    expect(bench.clock.pending).toBe(0);
  });
});

describe("D8: a message that is refused while others are accepted", () => {
  /** Another item is accepted, which ends the block, and `poison` is refused. */
  const round = (bench: Bench, other: string, outcome = FORBIDDEN): void => {
    bench.report(other, ACCEPTED);
    bench.post("poison", outcome);
  };

  it("a refusal counts only if another item was accepted since the one before", () => {
    const bench = new Bench();
    expect(bench.blockages.refusals(item("poison"))).toBe(0);
    bench.post("poison", FORBIDDEN);
    for (let probe = 0; probe < 8; probe += 1) {
      bench.clock.advance(5_000);
      bench.post("poison", FORBIDDEN);
    }
    expect(bench.blockages.refusals(item("poison"))).toBe(1);
    round(bench, "a");
    round(bench, "b");
    expect(bench.blockages.refusals(item("poison"))).toBe(3);
    expect(bench.refused).toEqual([]);
  });

  it("five times: handed over, and no trace of it is left", () => {
    const bench = new Bench();
    bench.post("poison", FORBIDDEN);
    for (const other of "abcd") round(bench, other);
    expect(bench.refused).toEqual(["poison forbidden"]);
    expect(bench.blockages.refusals(item("poison"))).toBe(0);
    expect(bench.renewable()).toEqual([]);
    expect(bench.overdue).toEqual([]);
  });

  it("an overdue one takes its refusals along, and the next needs an acceptance as any other", () => {
    const bench = new Bench();
    bench.post("poison", FORBIDDEN);
    round(bench, "a");
    const late = (): void => {
      bench.clock.advance(5_000);
      expect(bench.admit("poison")).toBe("post");
      bench.clock.advance(120_000);
      bench.report("poison", FORBIDDEN);
    };
    late();
    expect(bench.overdue).toEqual(["poison late"]);
    expect(bench.refusedBefore.get("poison")).toBe(2);
    bench.clock.advance(120_000);
    bench.post("poison", FORBIDDEN);
    expect(bench.blockages.refusals(item("poison"))).toBe(2);
    for (const other of "bc") round(bench, other);
    expect(bench.blockages.refusals(item("poison"))).toBe(4);
    round(bench, "d");
    expect(bench.refused).toEqual(["poison forbidden"]);
  });

  it("what no message can be blamed for does not count", () => {
    const bench = new Bench();
    bench.post("poison", FULL);
    for (const other of "abcdefgh") round(bench, other, FULL);
    expect(bench.blockages.refusals(item("poison"))).toBe(0);
    expect(bench.refused).toEqual([]);
  });
});

describe("Blockages: deliveries of one item", () => {
  it("a held one that is delivered again stays where it is, in its newest form", () => {
    const bench = new Bench().closedWith("a", "b");
    expect(bench.blockages.admit(JOBS, item("a", 2))).toBe("hold");
    expect([...bench.blockages.renewable()]).toEqual([item("a", 2), item("b")]);
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["a"]);
  });

  it("one that is being posted is not posted a second time", () => {
    const bench = new Bench().closedWith("a", "b");
    bench.clock.advance(200);
    expect(bench.admit("a")).toBe("post");
    expect(bench.admit("a")).toBe("hold");
    bench.report("a", ACCEPTED);
    expect(bench.renewable()).toEqual(["b"]);
  });

  it("one that is refused while its second delivery is held goes to the back", () => {
    const bench = new Bench();
    expect(bench.admit("early")).toBe("post");
    bench.closedWith("a", "early", "b");
    bench.report("early", FULL);
    for (let probe = 0; probe < 3; probe += 1) {
      bench.clock.advance(5_000);
      bench.post(bench.probes.at(-1) ?? "", FULL);
    }
    expect(bench.probes).toEqual(["a", "b", "early"]);
  });

  it("an answer for another namespace than where it is held makes it void there", () => {
    const bench = new Bench().closedWith("a");
    bench.report("a", FULL, OTHER);
    expect(bench.renewable()).toEqual(["a"]);
    expect(bench.blockages.reasons().map(({ namespace, held }) => [namespace, held])).toEqual([
      ["jobs", 0],
      ["other", 1],
    ]);
  });

  it("one that comes back for another namespace is void in the first", () => {
    const bench = new Bench().closedWith("a", "b");
    bench.clock.advance(200);
    expect(bench.admit("a", OTHER)).toBe("post");
    expect(bench.probes).toEqual(["a", "b"]);
    expect(bench.renewable()).toEqual(["b"]);
  });

  it("callbacks may call back at once, and come one after the other", () => {
    let inside = 0;
    const bench: Bench = new Bench({
      onProbe: ({ id }) => {
        inside += 1;
        expect(inside).toBe(1);
        if (id === "a") bench.blockages.drop(item(id));
        else bench.post(id, ACCEPTED);
        inside -= 1;
      },
    });
    bench.closedWith("a", "b", "c");
    bench.clock.advance(200);
    expect(bench.probes).toEqual(["a", "b"]);
    expect(bench.releases).toEqual([["c"]]);
  });
});

describe("Blockages: stop", () => {
  it("returns what is held; what would be held from here on is handed over; no timer is left", () => {
    const bench = new Bench();
    expect(bench.admit("early")).toBe("post");
    expect(bench.admit("other", OTHER)).toBe("post");
    bench.closedWith("a", "b", "c");
    bench.clock.advance(200);
    expect(bench.admit("a")).toBe("post");
    expect(bench.blockages.reasons()).toHaveLength(1);
    expect(bench.blockages.stop().map(({ id }) => id)).toEqual(["b", "c"]);
    bench.report("a", FULL);
    bench.report("early", FULL);
    bench.report("other", FULL, OTHER);
    expect(bench.admit("d")).toBe("hold");
    expect(bench.overdue).toEqual(["a stopped", "early stopped", "other stopped", "d stopped"]);
    expect(bench.clock.pending).toBe(0);
    expect(bench.renewable()).toEqual([]);
    expect(bench.blockages.reasons()).toEqual([]);
  });
});

describe("D8: for how long a key was closed, and why", () => {
  it("is counted from its first refusal to its first acceptance, each part under the refusal that was last then", () => {
    const bench = new Bench().closedWith("a");
    bench.clock.advance(200);
    bench.post("a", FORBIDDEN);
    bench.clock.advance(1_000);
    bench.blockages.count();
    expect(bench.closed).toEqual(["jobs quota 200", "jobs forbidden 1000"]);
    bench.clock.advance(10);
    bench.post("a", ACCEPTED);
    bench.clock.advance(60_000);
    bench.blockages.count();
    expect(bench.closed.slice(2)).toEqual(["jobs forbidden 10"]);
  });

  it("ends with the blockage of which nothing came any more, and with the process", () => {
    const bench = new Bench().closedWith("a");
    bench.blockages.drop(item("a"));
    bench.clock.advance(500_000);
    bench.blockages.count();
    expect(bench.closed).toEqual(["jobs quota 120000"]);
    bench.post("b", FULL, OTHER);
    bench.clock.advance(100);
    bench.blockages.stop();
    bench.clock.advance(100);
    bench.blockages.count();
    expect(bench.closed.slice(1)).toEqual(["other quota 100"]);
  });
});
