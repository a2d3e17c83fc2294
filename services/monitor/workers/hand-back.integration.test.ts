import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { lastWordsText } from "../../../libs/contract/last-words.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { Workbench } from "../../../libs/streams/testing/workbench.ts";
import {
  disrupted,
  ended,
  endOf,
  FakeWorkers,
  type Held,
  holderOf,
  running,
  SUBJECT,
  status,
  WORKER,
  WorkerCluster,
  WorkerMonitor,
} from "../../testing/worker-bench.ts";

let server: NatsTestServer;
let streams: Workbench;
let workers: FakeWorkers;
let cluster: WorkerCluster;
let monitor: WorkerMonitor;
/** Whoever's heartbeat is asked for has missed it. The broker waits for much longer: what comes back was handed back. */
const silent = { ackWaitMs: 1 };

beforeAll(async () => {
  server = await NatsTestServer.start();
  streams = await Workbench.open(server, { queues: [], workers: { [WORKER]: { subject: SUBJECT } }, ackWaitMs: 3_600_000 });
  workers = new FakeWorkers(streams);
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const stream of ["WORK", "KV_millrace_claims"]) await streams.manager.streams.purge(stream);
  cluster = await WorkerCluster.start();
  monitor = await new WorkerMonitor({ cluster, streams }).lead();
  await vi.waitFor(() => expect(monitor.watch.pods.problem()).toBeUndefined());
});
afterEach(async () => {
  vi.useRealTimers();
  await monitor[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

async function held(pod = "a", rest: Parameters<FakeWorkers["take"]>[1] = {}): Promise<Held> {
  await workers.publish();
  return workers.take(holderOf(pod), rest);
}
const until = (check: () => Promise<void> | void) => vi.waitFor(check, { timeout: 20_000, interval: 20 });
async function handedBack({ key, source }: Held): Promise<unknown> {
  const again = await workers.deliver();
  expect(again.source).toEqual(source);
  return workers.claim(key);
}
async function anotherMonitor(
  options: Omit<ConstructorParameters<typeof WorkerMonitor>[0], "cluster" | "streams"> = {},
): Promise<void> {
  await monitor[Symbol.asyncDispose]();
  monitor = await new WorkerMonitor({ cluster, streams, ...options }).lead();
}

describe("W1: what a dead process held is handed back, classed and counted", () => {
  it.each([
    ["oom", ended(137, "OOMKilled"), { failures: 1, free: 0 }],
    ["exit", ended(3, "Error"), { failures: 1, free: 0 }],
    ["lost", ended(255, "Unknown"), { failures: 0, free: 1 }],
    ["evicted", status("Failed", { terminated: endOf(137, "Error") }, {}, { reason: "Evicted" }), { failures: 0, free: 1 }],
    [
      "preempted",
      status("Failed", { terminated: endOf(137, "Error") }, {}, disrupted("PreemptionByScheduler")),
      { failures: 0, free: 1 },
    ],
    ["exit", running(20, endOf(1, "Error")), { failures: 1, free: 0 }],
  ])("%s", async (kind, becomes, counts) => {
    cluster.add("a");
    const message = await held();
    cluster.becomes("a", becomes);
    const claim = await handedBack(message);
    expect(claim).toMatchObject({ worker: WORKER, ...counts, ended: { class: kind } });
    expect(claim).not.toHaveProperty("holder");
    const { values } = await monitor.metrics.workerHandbacks.get();
    expect(values).toMatchObject([{ labels: { worker: WORKER, class: kind }, value: 1 }]);
  });

  it("by the news of its end alone: nobody sweeps, and no timer comes", async () => {
    await anotherMonitor({ worker: { deletionCost: true } });
    cluster.add("a");
    const message = await held();
    // Its mark says that the pod and its claim are known.
    await until(() => expect(cluster.patches).toHaveLength(1));
    vi.useFakeTimers({ toFake: ["setTimeout", "setInterval"] });
    cluster.becomes("a", ended(137, "OOMKilled"));
    expect(await handedBack(message)).toMatchObject({ failures: 1, ended: { class: "oom" } });
    // And by the news of a claim, when that comes later.
    expect(await handedBack(await held())).toMatchObject({ failures: 1, ended: { class: "oom" } });
  });

  it("all that it held, and adds to what was counted before", async () => {
    cluster.add("a");
    const one = await held("a", { failures: 1, free: 2 });
    const two = await held();
    cluster.becomes("a", ended(1, "Error"));
    await until(async () => {
      expect(await workers.claim(one.key)).toMatchObject({ failures: 2, free: 2 });
      expect(await workers.claim(two.key)).toMatchObject({ failures: 1, free: 0 });
    });
  });

  it("a pod that was deleted, as by a scale-in or a drain, burns nothing", async () => {
    cluster.add("a");
    const message = await held();
    const metadata = { deletionTimestamp: "2026-01-01T00:00:38Z", deletionGracePeriodSeconds: 30 };
    cluster.becomes("a", running(), metadata);
    cluster.becomes("a", ended(137, "Error", { second: 38 }), {
      deletionTimestamp: "2026-01-01T00:00:38Z",
      deletionGracePeriodSeconds: 0,
    });
    cluster.remove("a");
    expect(await handedBack(message)).toMatchObject({ failures: 0, free: 1, ended: { class: "lost" } });
  });

  it("while it ends, it may work on", async () => {
    cluster.add("a");
    const message = await held();
    cluster.becomes("a", running(), { deletionTimestamp: "2026-01-01T00:00:38Z", deletionGracePeriodSeconds: 30 });
    cluster.add("b");
    const dead = await held("b");
    cluster.becomes("b", ended(1, "Error"));
    await handedBack(dead);
    expect(await workers.claim(message.key)).toEqual(message.claim);
  });

  it("a handler that outlived its timeout counts as timeout; the other messages of its process as nobody's fault", async () => {
    cluster.add("a", running(), { memoryLimit: "64Mi" });
    const overran = await held("a", { overran: true });
    const other = await held();
    cluster.becomes("a", ended(137, "Error"));
    await until(async () => {
      expect(await workers.claim(overran.key)).toMatchObject({ failures: 1, ended: { class: "timeout" } });
      expect(await workers.claim(other.key)).toMatchObject({ free: 1, failures: 0, ended: { class: "lost" } });
    });
  });

  it("a process that killed itself while the broker was away says in its pod's status whose fault that was", async () => {
    cluster.add("a", running(), { memoryLimit: "64Mi" });
    const overran = await held();
    const other = await held();
    const message = lastWordsText([overran.key]);
    cluster.becomes("a", status("Running", { terminated: { ...endOf(137, "Error"), message } }));
    await until(async () => {
      expect(await workers.claim(overran.key)).toMatchObject({ failures: 1, free: 0, ended: { class: "timeout" } });
      expect(await workers.claim(other.key)).toMatchObject({ failures: 0, free: 1, ended: { class: "lost" } });
    });
  });

  it("what was being settled stays that, and is not counted again", async () => {
    cluster.add("a");
    const ended_ = { class: "error", reason: "no" } as const;
    const message = await held("a", { failures: 1, ended: ended_, settling: true });
    cluster.becomes("a", ended(1, "Error"));
    expect(await handedBack(message)).toMatchObject({ failures: 1, ended: ended_, settling: true });
  });
});

describe("W1: a stale claim never disturbs the next worker", () => {
  it("a container that started anew in the same pod keeps what its new process holds", async () => {
    cluster.add("a");
    const old = await held();
    await workers.publish();
    const process = { process: "a-2", bootedAtMs: Date.parse("2026-01-01T00:00:20.400Z") };
    const fresh = await workers.take(holderOf("a", process));
    cluster.becomes("a", running(20, endOf(137, "OOMKilled")));
    expect(await handedBack(old)).toMatchObject({ failures: 1 });
    await monitor.sweep();
    expect(await workers.claim(fresh.key)).toEqual(fresh.claim);
  });

  it("a claim that somebody took over is left alone, and its message is not handed back", async () => {
    cluster.add("a");
    cluster.add("b");
    const message = await held();
    // The lease ran out, and the next worker has it; the monitor learns of the death before it learns of that.
    const { store, spied } = stoppedAtSwap();
    cluster.becomes("a", ended(1, "Error"));
    await spied;
    const next = { ...message.claim, holder: holderOf("b"), delivery: 2 };
    const won = await workers.claims.swap(message.key, next, message.revision);
    expect(won.kind).toBe("won");
    const naks = nakCount(message);
    store.resolve();
    await workers.publish();
    await workers.take(holderOf("a"));
    await until(async () => expect(await workers.claim(message.key)).toEqual(next));
    await monitor.sweep();
    expect(await naks()).toBe(0);
    expect(await workers.claim(message.key)).toEqual(next);
  });

  it("an acknowledgement subject that is not the message's own is never published to", async () => {
    cluster.add("a");
    await workers.publish();
    const forged = await workers.take(holderOf("a"), { ack: SUBJECT });
    const messages = async () => (await streams.manager.streams.info("WORK")).state.last_seq;
    const before = await messages();
    cluster.becomes("a", ended(1, "Error"));
    await until(async () => expect(await workers.claim(forged.key)).not.toHaveProperty("holder"));
    await monitor.sweep();
    expect(await messages()).toBe(before);
  });
});

describe("W1: what nobody saw end is handed back only when its heartbeat stays away, too", () => {
  beforeEach(() => anotherMonitor(silent));

  it("J4: a lost node", async () => {
    cluster.add("a");
    const message = await held();
    cluster.becomes(
      "a",
      status("Running", { running: { startedAt: "2026-01-01T00:00:05Z" } }, {}, disrupted("DeletionByTaintManager")),
    );
    expect(await handedBack(message)).toMatchObject({ free: 1, failures: 0, ended: { class: "nodeLost" } });
  });

  it("a pod that was removed by force", async () => {
    cluster.add("a");
    const message = await held();
    cluster.remove("a");
    expect(await handedBack(message)).toMatchObject({ free: 1, ended: { class: "lost" } });
  });

  it("a pod that went while no monitor was there", async () => {
    cluster.add("a");
    const message = await held();
    await monitor.resign();
    await monitor.watch.stop();
    cluster.remove("a");
    await anotherMonitor(silent);
    expect(await handedBack(message)).toMatchObject({ free: 1, ended: { class: "lost", reason: "its pod is gone" } });
  });

  it("a broker that was away is no silence of its workers", async () => {
    await anotherMonitor({ ...silent, upForMs: () => 0 });
    cluster.add("a");
    const message = await held();
    cluster.remove("a");
    cluster.add("b");
    const dead = await held("b");
    cluster.becomes("b", ended(1, "Error"));
    await handedBack(dead);
    await monitor.sweep();
    expect(await workers.claim(message.key)).toEqual(message.claim);
  });

  it("nothing is concluded from pods that are not seen", async () => {
    cluster.forbidden.add("list");
    await anotherMonitor(silent);
    await until(() => expect(monitor.watch.notes()).toEqual([expect.stringContaining("worker pods are not seen")]));
    const message = await held("nobody");
    await monitor.sweep();
    expect(await workers.claim(message.key)).toEqual(message.claim);
    cluster.forbidden.clear();
    expect(await handedBack(message)).toMatchObject({ free: 1, ended: { class: "lost", reason: "its pod is gone" } });
  });
});

describe("W1: leaders, brokers and watches come and go", () => {
  it("a leader that begins looks at all claims, also at those of pods that went before it led", async () => {
    cluster.add("a");
    const message = await held();
    await monitor.resign();
    const follower = new WorkerMonitor({ cluster, streams });
    await follower.follow();
    await until(() => expect(follower.watch.pods.sighting("uid-a")).toBeDefined());
    cluster.becomes("a", ended(137, "OOMKilled", { phase: "Failed" }));
    cluster.remove("a");
    await until(() => expect(follower.watch.pods.sighting("uid-a")?.isGone).toBe(true));
    await monitor[Symbol.asyncDispose]();
    monitor = await follower.lead();
    expect(await handedBack(message)).toMatchObject({ failures: 1, ended: { class: "oom" } });
  });

  it("a monitor that died between the claim and the message left it to the next one", async () => {
    cluster.add("a");
    const message = await held();
    await monitor.resign();
    const { holder: _, ...released } = message.claim;
    await workers.claims.swap(message.key, { ...released, failures: 1 }, message.revision);
    await anotherMonitor();
    expect(await handedBack(message)).toMatchObject({ failures: 1 });
  });

  it("two that lead at once count a death once", async () => {
    const second = await new WorkerMonitor({ cluster, streams }).lead();
    await until(() => expect(second.watch.pods.problem()).toBeUndefined());
    cluster.add("a");
    const all = await Promise.all([1, 2, 3].map(() => workers.publish()));
    const messages = [];
    for (const _ of all) messages.push(await workers.take(holderOf("a")));
    cluster.becomes("a", ended(137, "OOMKilled"));
    for (const _ of all) await workers.deliver();
    await monitor.sweep();
    await second.sweep();
    await second[Symbol.asyncDispose]();
    for (const { key } of messages) expect(await workers.claim(key)).toMatchObject({ failures: 1, free: 0 });
  });

  it("a broker that starts anew, and may deliver by itself what it has forgotten to have delivered", async () => {
    cluster.add("a");
    const counted = ({ key }: Held) => until(async () => expect(await workers.claim(key)).toMatchObject({ failures: 1 }));
    const message = await held();
    await server.restart();
    cluster.becomes("a", ended(1, "Error"));
    await counted(message);
    await streams.manager.streams.purge("WORK");
    const later = await held();
    await counted(later);
    await workers.deliver();
  });

  it("a pod that went while the watch was broken", async () => {
    cluster.add("a", ended(1, "Error"));
    await until(() => expect(monitor.watch.pods.sighting("uid-a")).toBeDefined());
    cluster.cutWatches();
    cluster.pods.delete("a");
    const message = await held();
    expect(await handedBack(message)).toMatchObject({ failures: 1, ended: { class: "exit" } });
  });

  it("workers that are configured later are watched from then on", async () => {
    await monitor[Symbol.asyncDispose]();
    monitor = await new WorkerMonitor({ cluster, streams, workers: {} }).lead();
    expect(cluster.server.asked.filter(({ query }) => query.get("watch") === "true")).toHaveLength(1);
    cluster.add("a", ended(1, "Error"));
    const message = await held();
    monitor.configure({ [WORKER]: { subject: SUBJECT } });
    expect(await handedBack(message)).toMatchObject({ failures: 1 });
    monitor.configure({});
    await until(() => expect(cluster.watches).toBe(0));
    expect(monitor.watch.notes()).toEqual([]);
  });

  it("a claim whose message is gone is removed after a while, and no other", async () => {
    cluster.add("a");
    await anotherMonitor({ ackWaitMs: 0 });
    await until(() => expect(monitor.watch.pods.sighting("uid-a")).toBeDefined());
    const there = await held();
    const gone = await held();
    await streams.manager.streams.deleteMessage("WORK", gone.source.seq);
    await until(async () => {
      await monitor.sweep();
      expect(await workers.claim(gone.key)).toBeUndefined();
    });
    expect(await workers.claim(there.key)).toEqual(there.claim);
  });
});

describe("busy pods", () => {
  const costs = (pod: string) => cluster.patches.filter((patch) => patch.pod === pod).map(({ cost }) => cost);

  it("are marked as soon as they hold a message, where that is wanted, and a mark that was left is taken off", async () => {
    await monitor[Symbol.asyncDispose]();
    cluster.add("idle", running(), { cost: "100" });
    monitor = await new WorkerMonitor({ cluster, streams, worker: { deletionCost: true } }).lead();
    cluster.add("a");
    await held();
    await until(() => expect(costs("a")).toEqual(["100"]));
    await until(() => expect(costs("idle")).toEqual([null]));
  });

  it("are left alone where that is not wanted; and messages come back where it is not allowed", async () => {
    cluster.add("a");
    await handedBackOnceEnded("a");
    expect(cluster.patches).toEqual([]);
    await monitor[Symbol.asyncDispose]();
    for (const stream of ["WORK", "KV_millrace_claims"]) await streams.manager.streams.purge(stream);
    cluster.forbidden.add("patch");
    monitor = await new WorkerMonitor({ cluster, streams, worker: { deletionCost: true } }).lead();
    cluster.add("b");
    await handedBackOnceEnded("b");
    await until(() => expect(monitor.watch.notes()).toEqual([expect.stringContaining("cannot be marked")]));
  });

  async function handedBackOnceEnded(pod: string): Promise<void> {
    const message = await held(pod);
    await until(() => expect(monitor.watch.pods.sighting(`uid-${pod}`)).toBeDefined());
    if (cluster.forbidden.has("patch")) await until(() => expect(costs(pod)).toEqual(["100"]));
    cluster.becomes(pod, ended(1, "Error"));
    await handedBack(message);
  }
});

/** The monitor's next swap of a claim waits until it is let go. */
function stoppedAtSwap(): { readonly store: PromiseWithResolvers<void>; readonly spied: Promise<void> } {
  const store = Promise.withResolvers<void>();
  const { promise: spied, resolve } = Promise.withResolvers<void>();
  const { broker } = streams.store;
  const publish = broker.publish.bind(broker);
  const spy = vi.spyOn(broker, "publish").mockImplementation(async (publication) => {
    if (JSON.parse(String(publication.body || "{}")).holder !== undefined) return publish(publication);
    spy.mockRestore();
    resolve();
    await store.promise;
    return publish(publication);
  });
  return { store, spied };
}

function nakCount({ ack }: Held): () => Promise<number> {
  const naks: string[] = [];
  const subscription = streams.connection.subscribe(ack, { callback: (_, message) => void naks.push(message.string()) });
  return async () => {
    await streams.connection.flush();
    subscription.unsubscribe();
    return naks.length;
  };
}
