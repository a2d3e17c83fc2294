import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Log, silentLog } from "../runtime/log.ts";
import { LeaseElection } from "./lease-election.ts";
import { FakeApiServer, refuse } from "./testing/fake-api-server.ts";
import { FakeLeases } from "./testing/fake-leases.ts";
import { SimulatedClient } from "./testing/simulated-client.ts";
import { VirtualTime } from "./testing/virtual-time.ts";

const LEASE = { namespace: "millrace", name: "millrace-monitor" };

/** Resolves when the signal has aborted. */
const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

let time: VirtualTime;
let leases: FakeLeases;
let events: string[];
beforeEach(() => {
  time = new VirtualTime();
  leases = new FakeLeases();
  events = [];
});
const spec = () => leases.leases.get(LEASE.name)?.spec;

/** Writes down what is logged of an election, without its fields. */
const heard: Log = {
  debug: (event) => void events.push(event),
  info: (event) => void events.push(event),
  warn: (event) => void events.push(event),
  error: (event) => void events.push(event),
};

interface Candidate {
  readonly election: LeaseElection;
  readonly client: SimulatedClient;
}
interface Behaviour {
  readonly term?: (signal: AbortSignal) => Promise<void>;
  readonly endMs?: number;
}

const idle = new AbortController().signal;

/** Its term says when it begins, is told to end, and has ended. */
function candidate(identity: string, { term, endMs = 0 }: Behaviour = {}): Candidate {
  const client = new SimulatedClient({ time, leases });
  const work = async (signal: AbortSignal): Promise<void> => {
    events.push(`${identity} begins`);
    await aborted(signal);
    events.push(`${identity} ends`);
    await time.wait(endMs, idle);
    events.push(`${identity} ended`);
  };
  const election = new LeaseElection({
    ...LEASE,
    client,
    identity,
    term: term ?? work,
    log: heard,
    nowMs: () => time.nowMs,
    wait: time.wait,
    random: () => 0.5,
  });
  return { election, client };
}

async function stop(...candidates: Candidate[]): Promise<void> {
  const stopped = Promise.all(candidates.map(({ election }) => election.stop()));
  await time.pass(60_000);
  await stopped;
}

describe("LeaseElection", () => {
  it("start resolves at once; the first to claim leads, and says who it is", async () => {
    const { election, client } = candidate("a");
    client.away = true;
    await election.start();
    expect(election.isLeader()).toBe(false);
    client.away = false;
    await time.pass(30_000);
    expect(election.isLeader()).toBe(true);
    expect(election.leader()).toBe("a");
    expect(spec()).toMatchObject({ holderIdentity: "a", leaseDurationSeconds: 15, leaseTransitions: 0 });
    expect(spec()?.renewTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/u);
    await stop({ election, client });
  });

  it("a leader that renews is never replaced, and another knows whom it waits for", async () => {
    const [a, b] = [candidate("a"), candidate("b")];
    await a.election.start();
    await time.pass(100);
    await b.election.start();
    await time.pass(3_600_000);
    expect([a.election.isLeader(), b.election.isLeader(), b.election.leader()]).toEqual([true, false, "a"]);
    expect(leases.holders).toEqual(["a"]);
    await stop(b, a);
  });

  it("stop ends the term, keeps the Lease while it ends, and releases it last", async () => {
    const [a, b] = [candidate("a", { endMs: 40_000 }), candidate("b")];
    await a.election.start();
    await time.pass(100);
    await b.election.start();
    await time.pass(5_000);
    const stopped = a.election.stop();
    await time.pass(39_000);
    expect(a.election.isLeader()).toBe(false);
    expect(spec()?.holderIdentity).toBe("a");
    expect(events.filter((event) => event.startsWith("b"))).toEqual([]);
    await time.pass(5_000);
    await stopped;
    expect(leases.holders).toEqual(["a", "", "b"]);
    expect(events).toEqual(["election.won", "a begins", "a ends", "a ended", "election.released", "election.won", "b begins"]);
    expect(spec()).toMatchObject({ leaseTransitions: 1 });
    await stop(b);
  });

  it("what else is in the Lease is kept", async () => {
    const { election, client } = candidate("a");
    await election.start();
    await time.pass(100);
    const held = leases.leases.get(LEASE.name);
    if (held === undefined) throw new Error("no Lease");
    held.metadata["annotations"] = { note: "a person's" };
    await time.pass(10_000);
    await stop({ election, client });
    expect(leases.leases.get(LEASE.name)).toMatchObject({
      metadata: { annotations: { note: "a person's" } },
      spec: { holderIdentity: "" },
    });
  });
});

describe("A13: losing the Lease once is not the end of it", () => {
  it("a server that is away for longer than the deadline ends the term, and the same process leads again afterwards", async () => {
    const { election, client } = candidate("a");
    await election.start();
    await time.pass(5_000);
    client.away = true;
    await time.pass(11_000);
    expect(election.isLeader()).toBe(false);
    expect(events).toEqual(["election.won", "a begins", "election.unanswered", "election.lost", "a ends", "a ended"]);
    await time.pass(3_600_000);
    client.away = false;
    await time.pass(10_000);
    expect(election.isLeader()).toBe(true);
    expect(events.filter((event) => event === "a begins")).toHaveLength(2);
    await stop({ election, client });
  });

  it("a server that is away for less changes nothing", async () => {
    const { election, client } = candidate("a");
    await election.start();
    await time.pass(5_000);
    client.away = true;
    await time.pass(7_000);
    client.away = false;
    await time.pass(60_000);
    expect(election.isLeader()).toBe(true);
    expect(events.filter((event) => event === "a begins")).toHaveLength(1);
    await stop({ election, client });
  });

  it("the work ends before another's begins, though it takes its time", async () => {
    const [a, b] = [candidate("a", { endMs: 3_500 }), candidate("b")];
    await a.election.start();
    await time.pass(100);
    await b.election.start();
    await time.pass(10_000);
    a.client.away = true;
    await time.pass(30_000);
    expect(b.election.isLeader()).toBe(true);
    expect(events.indexOf("a ended")).toBeLessThan(events.indexOf("b begins"));
    a.client.away = false;
    await time.pass(3_600_000);
    expect([a.election.isLeader(), b.election.isLeader()]).toEqual([false, true]);
    await stop(a, b);
  });

  it("it campaigns again: when the one that took over is gone, it leads", async () => {
    const [a, b] = [candidate("a"), candidate("b")];
    await a.election.start();
    await time.pass(100);
    await b.election.start();
    a.client.away = true;
    await time.pass(30_000);
    a.client.away = false;
    b.client.away = true;
    await time.pass(30_000);
    expect([a.election.isLeader(), b.election.isLeader()]).toEqual([true, false]);
    await stop(a, b);
  });

  it("lost answers are no loss: the writes were carried out", async () => {
    const { election, client } = candidate("a");
    client.mute = true;
    await election.start();
    await time.pass(20_000);
    expect(election.isLeader()).toBe(false);
    client.mute = false;
    await time.pass(10_000);
    expect(election.isLeader()).toBe(true);
    await stop({ election, client });
    expect(spec()?.holderIdentity).toBe("");
  });

  it("a Lease that another took ends the term at the next look, whatever the clock says", async () => {
    const { election, client } = candidate("a");
    await election.start();
    await time.pass(5_000);
    const held = leases.leases.get(LEASE.name);
    if (held === undefined) throw new Error("no Lease");
    leases.answer({
      method: "PUT",
      path: LEASE.name,
      body: { ...held, spec: { holderIdentity: "b", leaseDurationSeconds: 15 } },
    });
    await time.pass(2_100);
    expect(election.isLeader()).toBe(false);
    expect(events).toContain("a ended");
    expect(election.leader()).toBe("b");
    await time.pass(20_000);
    expect(election.isLeader()).toBe(true);
    await stop({ election, client });
  });

  it("a Lease that a person deleted is made again by its leader; who has seen the leader does not take it first", async () => {
    const [a, b] = [candidate("a"), candidate("b")];
    await a.election.start();
    await time.pass(100);
    await b.election.start();
    await time.pass(10_000);
    a.client.away = true;
    leases.leases.clear();
    await time.pass(6_000);
    expect(leases.leases.size).toBe(0);
    a.client.away = false;
    await time.pass(10_000);
    expect([a.election.isLeader(), b.election.isLeader()]).toEqual([true, false]);
    expect(spec()?.holderIdentity).toBe("a");
    await stop(b, a);
  });
});

describe("a term that fails", () => {
  it("is logged, its Lease is released, and the same process leads again after a pause", async () => {
    let terms = 0;
    const startsMs: number[] = [];
    const { election, client } = candidate("a", {
      term: async (signal) => {
        terms += 1;
        startsMs.push(time.nowMs);
        if (terms < 4) throw new Error("no stream");
        await aborted(signal);
      },
    });
    await election.start();
    await time.pass(100);
    expect(events).toEqual(["election.won", "election.term-failed", "election.released"]);
    expect(election.problem()).toBe("the leader's work failed: no stream");
    expect(election.isLeader()).toBe(false);
    await time.pass(60_000);
    expect(election.isLeader()).toBe(true);
    expect(election.problem()).toBeUndefined();
    const pausesMs = startsMs.slice(1).map((startMs, index) => startMs - (startsMs[index] ?? 0));
    expect(pausesMs).toEqual(pausesMs.toSorted((a, b) => a - b));
    expect(pausesMs[0]).toBeGreaterThanOrEqual(500);
    await stop({ election, client });
  });

  it("so is one that ends by itself", async () => {
    const { election, client } = candidate("a", { term: () => Promise.resolve() });
    await election.start();
    await time.pass(100);
    expect(election.problem()).toBe("the leader's work ended by itself");
    expect(spec()?.holderIdentity).toBe("");
    await stop({ election, client });
  });
});

describe("what probes see", () => {
  it("a server that is away is a reason for readiness, not for a restart", async () => {
    const { election, client } = candidate("a");
    client.away = true;
    await election.start();
    await time.pass(10_000);
    expect(election.problem()).toBeUndefined();
    await time.pass(3_600_000);
    expect(election.problem()).toMatch(/^Lease millrace-monitor could not be read or written for \d+ s: no answer/u);
    expect(election.heartbeat.problem()).toBeUndefined();
    client.away = false;
    await time.pass(10_000);
    expect(election.problem()).toBeUndefined();
    await stop({ election, client });
  });

  it("an election that has not been started is no reason for a restart: something else is being waited for", async () => {
    const { election } = candidate("a");
    await time.pass(3_600_000);
    expect(election.heartbeat.problem()).toBeUndefined();
  });

  it("a standby and a leader are alive for as long as they turn", async () => {
    const [a, b] = [candidate("a"), candidate("b")];
    await a.election.start();
    await time.pass(100);
    await b.election.start();
    await time.pass(3_600_000);
    for (const { election } of [a, b]) {
      expect(election.heartbeat.problem()).toBeUndefined();
      expect(election.problem()).toBeUndefined();
    }
    await stop(b, a);
  });

  it("a term that does not end though it was told to is a reason for a restart", async () => {
    const hung = Promise.withResolvers<void>();
    const { election, client } = candidate("a", { term: () => hung.promise });
    await election.start();
    await time.pass(5_000);
    client.away = true;
    await time.pass(120_000);
    expect(election.heartbeat.problem()).toMatch(/^no progress for/u);
    hung.resolve();
    await time.pass(20_000);
    expect(election.heartbeat.problem()).toBeUndefined();
    await stop({ election, client });
  });
});

describe("on the wire", () => {
  let server: FakeApiServer;
  const elections: LeaseElection[] = [];
  afterEach(async () => {
    await Promise.all(elections.splice(0).map((election) => election.stop()));
    await server[Symbol.asyncDispose]();
  });
  const real = (identity: string, begins: () => void): LeaseElection => {
    const term = async (signal: AbortSignal): Promise<void> => {
      begins();
      await aborted(signal);
    };
    const election = new LeaseElection({ ...LEASE, client: server.client, identity, term, log: silentLog, retryPeriodMs: 5 });
    elections.push(election);
    return election;
  };

  it("two processes hand the Lease over; it is read before each write, and written by PUT with the version that was read", async () => {
    server = await FakeApiServer.start((asked) => leases.respond(asked));
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const a = real("a", first.resolve);
    await a.start();
    await first.promise;
    await real("b", second.resolve).start();
    await a.stop();
    await second.promise;
    expect(leases.holders).toEqual(["a", "", "b"]);
    const path = "/apis/coordination.k8s.io/v1/namespaces/millrace/leases";
    const writes = server.asked.filter(({ method }) => method !== "GET");
    expect(writes[0]).toMatchObject({
      method: "POST",
      path,
      body: { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: LEASE, spec: { holderIdentity: "a" } },
    });
    expect(writes[1]).toMatchObject({
      method: "PUT",
      path: `${path}/millrace-monitor`,
      body: { metadata: { uid: expect.any(String), resourceVersion: expect.any(String) } },
    });
  });

  it("a server that refuses is asked again, for ever", async () => {
    let refusals = 0;
    server = await FakeApiServer.start((asked) => {
      refusals += 1;
      if (refusals > 20) leases.respond(asked);
      else if (refusals % 2 === 0) asked.response.destroy();
      else refuse(asked.response, 403, "Forbidden", "no Role yet");
    });
    const begun = Promise.withResolvers<void>();
    await real("a", begun.resolve).start();
    await begun.promise;
    expect(refusals).toBeGreaterThan(20);
  });
});

describe("two candidates never both lead", () => {
  interface Process {
    election: LeaseElection;
    running: boolean;
    frozenUntilMs: number;
  }
  interface Fault {
    readonly kind: "away" | "mute" | "freeze" | "restart";
    readonly whom: number;
    readonly lastsMs: number;
    readonly afterMs: number;
  }

  /** Clocks differ and drift, messages are slow or lost, requests arrive after their sender gave up, processes freeze and restart. */
  async function play(options: { faults: Fault[]; rates: number[]; delays: number[]; slowestMs: number }): Promise<void> {
    const { faults, rates, delays, slowestMs } = options;
    const store = new FakeLeases();
    const processes: Process[] = [];
    const mayOverlap = faults.some(({ kind }) => kind === "freeze");
    const clock = new VirtualTime(() => {
      expect(processes.filter(({ election }) => election.isLeader()).length).toBeLessThanOrEqual(1);
      if (!mayOverlap) expect(processes.filter(({ running }) => running).length).toBeLessThanOrEqual(1);
    });
    let drawn = 0;
    const draw = (): number => {
      drawn += 1;
      return delays[drawn % delays.length] ?? 0;
    };
    const clients = rates.map(() => new SimulatedClient({ time: clock, leases: store, travelMs: () => draw() * slowestMs }));
    const launch = (index: number): Promise<void> => {
      const rate = rates[index] ?? 1;
      const client = clients[index];
      if (client === undefined) throw new Error("no such candidate");
      const thawed = async (): Promise<void> => {
        while (clock.nowMs < process.frozenUntilMs) await clock.wait(process.frozenUntilMs - clock.nowMs, idle);
      };
      const json = async <T>(request: Parameters<SimulatedClient["json"]>[0]): Promise<T> => {
        try {
          return await client.json<T>(request);
        } finally {
          await thawed();
        }
      };
      const election = new LeaseElection({
        ...LEASE,
        client: { json },
        identity: `${index}-${processes.length}`,
        term: async (signal) => {
          process.running = true;
          await aborted(signal);
          await clock.wait(draw() * 2_000, idle);
          process.running = false;
        },
        log: silentLog,
        nowMs: () => 1e6 * index + clock.nowMs * rate,
        wait: async (delayMs, signal) => {
          await clock.wait(delayMs / rate, signal);
          await thawed();
        },
        random: draw,
      });
      const process: Process = { election, running: false, frozenUntilMs: 0 };
      processes[index] = process;
      return election.start();
    };
    for (const index of rates.keys()) await launch(index);
    for (const { kind, whom, lastsMs, afterMs } of faults) {
      await clock.pass(afterMs);
      const index = whom % rates.length;
      const [client, process] = [clients[index], processes[index]];
      if (client === undefined || process === undefined) continue;
      if (kind === "restart") {
        const stopped = process.election.stop();
        await clock.pass(60_000);
        await stopped;
        await launch(index);
      } else if (kind === "freeze") {
        process.frozenUntilMs = clock.nowMs + lastsMs;
        await clock.pass(lastsMs / 2);
      } else {
        client[kind] = true;
        await clock.pass(lastsMs);
        client[kind] = false;
      }
    }
    // Once all is well again, somebody leads: two of the longest round trips after the last Lease has expired.
    await clock.pass(120_000);
    expect(processes.filter(({ election }) => election.isLeader())).toHaveLength(1);
    const stopped = Promise.all(processes.map(({ election }) => election.stop()));
    await clock.pass(60_000);
    await stopped;
    expect(processes.some(({ running }) => running)).toBe(false);
    expect(store.leases.get(LEASE.name)?.spec.holderIdentity).toBe("");
  }

  it("whatever the delays, losses, drifts, freezes and restarts; and when they are over, one leads", async () => {
    const fault = fc.record({
      kind: fc.constantFrom("away" as const, "mute" as const, "freeze" as const, "restart" as const),
      whom: fc.nat(2),
      lastsMs: fc.integer({ min: 1, max: 60_000 }),
      afterMs: fc.integer({ min: 0, max: 30_000 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          faults: fc.array(fault, { maxLength: 8 }),
          rates: fc.array(fc.double({ min: 0.95, max: 1.05, noNaN: true }), { minLength: 2, maxLength: 3 }),
          delays: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 20, maxLength: 60 }),
          slowestMs: fc.constantFrom(1, 100, 1_200),
        }),
        play,
      ),
      { seed: 20261122, numRuns: 60, endOnFailure: true },
    );
  }, 60_000);
});
