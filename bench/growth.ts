import { setTimeout as sleep } from "node:timers/promises";
import type { V1Job } from "@kubernetes/client-node";
import { type JetStreamClient, jetstream } from "@nats-io/jetstream";
import { jobHash } from "../libs/contract/names.ts";
import { recordIn } from "../libs/contract/testing/records.ts";
import { RecordStore } from "../libs/streams/records.ts";
import { Controllers } from "./harness/controllers.ts";
import { CpuMeter, type Memory, memoryOf } from "./harness/cpu.ts";
import { FakeNodes, onFakeNodes } from "./harness/fake-nodes.ts";
import { INSPECTABLE, liveHeapBytes } from "./harness/heap.ts";
import { jobBodies } from "./harness/job-bodies.ts";
import { each, RawPoster } from "./harness/raw-poster.ts";
import type { Report } from "./harness/report.ts";
import { QUEUE, Rig } from "./harness/rig.ts";
import { median, quantile, spread } from "./harness/rounds.ts";
import type { Bench, Stage } from "./harness/stage.ts";

interface Size {
  readonly liveJobs: number;
  readonly records: number;
}

/** What one size was seen to cost. */
interface Seen {
  readonly size: Size;
  /** Publish → the API server's answer to the POST, by round. */
  readonly dispatchMs: readonly (readonly number[])[];
  /** The same POST by a bare loop, in the same seconds. */
  readonly rawMs: readonly (readonly number[])[];
  /** Of one core, while no Job begins or ends, sweeps included. */
  readonly idlePercent: Readonly<Record<string, number>>;
  readonly memory: Readonly<Record<string, Memory>>;
  readonly heapMB: Readonly<Record<string, number>>;
  readonly recordScanMs: number;
  /** From a fresh start of the monitor's process until it has seen every Job and pod. */
  readonly listMs: number;
  /** From SIGKILL of the monitor until a job that was published then is recorded. */
  readonly recoveryMs: number;
}

const SLOTS = 20_000;
const FAKE_NODES = 20;
const PROBES_PER_SECOND = 10;
const PROBES_PER_ROUND = 50;
const WARM_UP = 300;
const IDLE_MS = 35_000;
/** The label `app` of Jobs whose pods succeed at once; those of the others run until the end. */
const QUICK = "quick";
/** A namespace that every cluster has. */
const BARE = "default";

const HELLO = {
  params: { type: "object", properties: { name: { type: "string" } }, additionalProperties: false },
  podSpec: {
    ...onFakeNodes,
    containers: [
      {
        name: "main",
        image: "busybox:latest",
        command: ["echo", "hello $(params.name)"],
        resources: { limits: { memory: "64Mi" }, requests: { cpu: "10m" } },
      },
    ],
  },
} as const;

export const growth: Bench = { name: "growth", shape: "api", spendsCluster: true, run };

const GARBAGE =
  "a full collection leaves the live heap that the table tells; the rest is garbage that V8 lets lie up to half of the container's 256 MiB, and buffers of the lists";

async function run(stage: Stage): Promise<Report> {
  const sizes: readonly Size[] = stage.quick
    ? [
        { liveJobs: 20, records: 20 },
        { liveJobs: 1_000, records: 5_000 },
      ]
    : [
        { liveJobs: 100, records: 100 },
        { liveJobs: 10_000, records: 100_000 },
      ];
  const { cluster } = stage;
  await using raw = await RawPoster.open({ access: stage.access });
  await using rig = await Rig.open({
    stage,
    name: "growth",
    services: ["dispatcher", "monitor"],
    firstPort: 14_900,
    slots: SLOTS,
    hello: HELLO,
    nodeArguments: INSPECTABLE,
  });
  const controllers = new Controllers({ node: cluster.node, binDir: cluster.local.binDir, folder: rig.folder });
  const nodes = await FakeNodes.start({
    count: FAKE_NODES,
    completes: { app: QUICK },
    kubeconfig: cluster.kubeconfig,
    kubectl: cluster.kubectl(),
    folder: rig.folder,
    progress: stage.progress,
  });
  const bench = new Growth({ stage, rig, raw });
  try {
    await bench.warmUp();
    const seen: Seen[] = [];
    for (const size of sizes) {
      await bench.grow(size);
      seen.push(await bench.look(size));
    }
    return reportOf(seen);
  } finally {
    await nodes.process.stop();
    await controllers.stop();
  }
}

class Growth {
  readonly #stage: Stage;
  readonly #rig: Rig;
  readonly #raw: RawPoster;
  readonly #client: JetStreamClient;
  #made = 0;
  #live = 0;
  #records = 0;

  constructor(options: { readonly stage: Stage; readonly rig: Rig; readonly raw: RawPoster }) {
    this.#stage = options.stage;
    this.#rig = options.rig;
    this.#raw = options.raw;
    this.#client = jetstream(options.rig.connection);
  }

  /** Compilers and connections are ready before the small size is measured, as they are before the large one. */
  async warmUp(): Promise<void> {
    const ids = this.#ids("warm", WARM_UP);
    const ended = this.#told("succeeded", WARM_UP);
    await each(ids, 64, (id) => this.#publish(id, QUICK));
    await ended;
  }

  async grow(to: Size): Promise<void> {
    const { progress } = this.#stage;
    const startedMs = performance.now();
    const elapsed = (): string => `${((performance.now() - startedMs) / 1000).toFixed(0)} s`;
    const more = to.liveJobs - this.#live;
    const started = this.#told("started", more);
    await Promise.all([each(this.#ids("live", more), 64, (id) => this.#publish(id)), this.#fillRecords(to.records)]);
    progress(`${to.records} records, ${more} more messages: ${elapsed()}`);
    await started;
    this.#live = to.liveJobs;
    progress(`${to.liveJobs} live Jobs: ${elapsed()}`);
  }

  async look(size: Size): Promise<Seen> {
    const { rounds, quick, progress } = this.#stage;
    const idlePercent = await this.#idle(quick ? 5_000 : IDLE_MS);
    const dispatchMs: number[][] = [];
    const rawMs: number[][] = [];
    for (let round = 0; round < rounds; round += 1) {
      const { dispatch, bare } = await this.#round(quick ? 20 : PROBES_PER_ROUND);
      dispatchMs.push(dispatch);
      rawMs.push(bare);
      progress(`round ${round + 1}/${rounds}: p50 ${median(dispatch).toFixed(2)} ms, raw ${median(bare).toFixed(2)} ms`);
    }
    const memory = Object.fromEntries(Object.entries(this.#rig.pids()).map(([name, pid]) => [name, memoryOf(pid)]));
    const heapMB: Record<string, number> = {};
    for (const [name, service] of this.#rig.services) heapMB[name] = (await liveHeapBytes(service)) / 1e6;
    const scanStartedMs = performance.now();
    await (await RecordStore.open(this.#rig.connection)).inState("running", new AbortController().signal);
    const recordScanMs = performance.now() - scanStartedMs;
    const { listMs, recoveryMs } = await this.#recover();
    memory["monitor, restarted"] = memoryOf(this.#rig.service("monitor").pid);
    return { size, dispatchMs, rawMs, idlePercent, memory, heapMB, recordScanMs, listMs, recoveryMs };
  }

  /** Open loop: a message each tenth of a second whatever becomes of the one before it, and between two of them the bare POST. */
  async #round(count: number): Promise<{ readonly dispatch: number[]; readonly bare: number[] }> {
    const ids = this.#ids("probe", count);
    const publishedMs = new Map<string, number>();
    const dispatch: number[] = [];
    const bare: number[] = [];
    const { promise: all, resolve } = Promise.withResolvers<void>();
    const off = this.#rig.service("dispatcher").onLine((line, atMs) => {
      const id = line.includes('"job.created"') ? /"id":"([^"]+)"/.exec(line)?.[1] : undefined;
      const from = publishedMs.get(id ?? "");
      if (from !== undefined && dispatch.push(atMs - from) === count) resolve();
    });
    const ended = this.#told("succeeded", count);
    const bodies = this.#bareBodies(count);
    const everyMs = 1000 / PROBES_PER_SECOND;
    const startedMs = performance.now();
    const posts: Promise<void>[] = [];
    for (const [index, id] of ids.entries()) {
      await sleep(Math.max(0, startedMs + index * everyMs - performance.now()));
      publishedMs.set(id, performance.now());
      const published = this.#publish(id, QUICK);
      await sleep(Math.max(0, startedMs + (index + 0.5) * everyMs - performance.now()));
      const body = bodies[index];
      posts.push(published, ...(body === undefined ? [] : [this.#bare(body, bare)]));
    }
    await Promise.all([all, ...posts]);
    off();
    await ended;
    return { dispatch, bare };
  }

  /** As the dispatcher's own, but of another instance, so that the monitor does not see them, and suspended, so that no pod comes of them. */
  #bareBodies(count: number): Buffer[] {
    const { config } = this.#rig;
    const bodies = jobBodies({ instance: "bare.millrace", namespace: BARE, config }, this.#ids("bare", count));
    return bodies.map(({ bytes }) => {
      const job = JSON.parse(bytes.toString()) as V1Job;
      return Buffer.from(JSON.stringify({ ...job, spec: { ...job.spec, suspend: true } }));
    });
  }

  async #bare(body: Buffer, durations: number[]): Promise<void> {
    const startedMs = performance.now();
    await this.#raw.post(BARE, body);
    durations.push(performance.now() - startedMs);
  }

  async #idle(forMs: number): Promise<Record<string, number>> {
    const meter = new CpuMeter(this.#rig.pids());
    const startedMs = performance.now();
    await sleep(forMs);
    const elapsedMs = performance.now() - startedMs;
    return Object.fromEntries(Object.entries(meter.read()).map(([name, ms]) => [name, (100 * ms) / elapsedMs]));
  }

  async #recover(): Promise<{ readonly listMs: number; readonly recoveryMs: number }> {
    const killedMs = performance.now();
    await this.#rig.service("monitor").kill();
    const [id = ""] = this.#ids("after", 1);
    await this.#publish(id, QUICK);
    const startedMs = performance.now();
    const events = this.#rig.connection.subscribe(`events.${QUEUE}.${jobHash(this.#rig.instance, QUEUE, id)}.>`, { max: 1 });
    await this.#rig.start("monitor");
    const listMs = performance.now() - startedMs;
    for await (const _ of events) break;
    return { listMs, recoveryMs: performance.now() - killedMs };
  }

  #ids(kind: string, count: number): string[] {
    return Array.from({ length: count }, () => `${kind}-${this.#made++}`);
  }

  async #publish(id: string, service?: string): Promise<void> {
    const body = { id, template: "hello", params: { name: "world" }, ...(service === undefined ? {} : { service }) };
    await this.#client.publish(`jobs.${QUEUE}.hello`, JSON.stringify(body));
  }

  /** Resolves when the monitor has published so many events of a kind. */
  async #told(what: string, count: number): Promise<void> {
    const events = this.#rig.connection.subscribe(`events.${QUEUE}.*.*.${what}`, { max: count });
    let seen = 0;
    for await (const _ of events) {
      seen += 1;
      if (seen % 1_000 === 0) this.#stage.progress(`${seen} of ${count} have ${what}`);
    }
  }

  /** Records of jobs that have ended, as the monitor writes them. */
  async #fillRecords(upTo: number): Promise<void> {
    const store = await RecordStore.open(this.#rig.connection);
    const { instance } = this.#rig;
    const ids = this.#ids("ended", upTo - this.#records);
    const at = new Date().toISOString();
    await each(ids, 256, async (id) => {
      const hash = jobHash(instance, QUEUE, id);
      const ended = { outcome: "succeeded", startedAt: at, endedAt: at, node: "fake-1", uid: "0".repeat(36), n: 1 } as const;
      await store.swap(recordIn("succeeded", { id, hash, attempts: [ended], createdAt: at, updatedAt: at }), 0);
    });
    this.#records = upTo;
  }
}

function reportOf(seen: readonly Seen[]): Report {
  const [small, big] = seen;
  if (small === undefined || big === undefined) throw new Error("two sizes are measured");
  const p50 = (rounds: readonly (readonly number[])[]): number[] => rounds.map((round) => median(round));
  const ratio = median(p50(big.dispatchMs)) / median(p50(small.dispatchMs));
  const rawRatio = median(p50(big.rawMs)) / median(p50(small.rawMs));
  const objects = 2 * big.size.liveJobs;
  const allowedMB = 100 + (0.5 * objects) / 1000;
  const ownMB = ["dispatcher", "monitor", "monitor, restarted"].map((name) => megabytes(big.memory[name]?.own));
  const perObject = (((big.heapMB["monitor"] ?? 0) - (small.heapMB["monitor"] ?? 0)) * 1e6) / (objects - 2 * small.size.liveJobs);
  const row = (what: string, figure: (of: Seen) => string): string[] => [what, figure(small), figure(big)];
  const by = (name: string, unit: string, of: Readonly<Record<string, number>>): string =>
    `${(of[name] ?? 0).toFixed(1)} ${unit}`;
  return {
    name: "growth",
    title: "What more jobs cost",
    method: [
      "A job that lives is a message, a record, a Job and a Running pod, all made by way of Millrace; the nodes are fake (kwok), and Kubernetes' controllers may make more requests than by default. Records of ended jobs are written straight into the bucket.",
      `Dispatch: ${PROBES_PER_SECOND} messages per second in open loop, from the publish until the dispatcher has the API server's answer to its POST. Between two of them the same body is POSTed by a bare loop, so that what the cluster itself takes longer with more objects is told apart.`,
      "Memory: the processes are limited as in the chart (256 MiB), by which Node sizes its heap. Own memory is without the pages of the Node binary, which all processes of a machine share and the kernel may drop. Live heap is what remains after a full collection.",
      "Idle: no Job begins or ends; leases are renewed, and one sweep or two read every record's headers.",
    ],
    goals: [
      {
        what: `dispatch p50, ${big.size.records} records and ${big.size.liveJobs} live Jobs against ${small.size.liveJobs}`,
        target: "≤ 1.2×",
        figure: `${ratio.toFixed(2)}× (the API server's own answer: ${rawRatio.toFixed(2)}×)`,
        met: ratio <= 1.2,
      },
      {
        what: `memory with ${objects} live objects, each process`,
        target: `≤ 100 MB + 0.5 KB each = ${allowedMB.toFixed(0)} MB`,
        figure: `${ownMB.map((mb) => mb.toFixed(0)).join(", ")} MB of their own (dispatcher, monitor, monitor restarted); ${perObject.toFixed(0)} bytes of heap each`,
        met: Math.max(...ownMB) <= allowedMB,
        ...(Math.max(...ownMB) <= allowedMB ? {} : { note: GARBAGE }),
      },
    ],
    tables: [
      {
        title: "By size",
        columns: ["", ...seen.map(({ size }) => `${size.liveJobs} live Jobs, ${size.records} records`)],
        rows: [
          row("dispatch p50, ms", ({ dispatchMs }) => spread(p50(dispatchMs), 2)),
          row("dispatch p99, ms", ({ dispatchMs }) => quantile(dispatchMs.flat(), 0.99).toFixed(1)),
          row("bare POST p50, ms", ({ rawMs }) => spread(p50(rawMs), 2)),
          row("bare POST p99, ms", ({ rawMs }) => quantile(rawMs.flat(), 0.99).toFixed(1)),
          ...["dispatcher", "monitor", "nats"].map((name) =>
            row(`${name}, idle, of a core`, ({ idlePercent }) => by(name, "%", idlePercent)),
          ),
          ...["dispatcher", "monitor", "monitor, restarted", "nats"].map((name) =>
            row(`${name}, own memory (resident)`, ({ memory }) => {
              const seen = memory[name];
              return `${megabytes(seen?.own).toFixed(0)} (${megabytes(seen?.resident).toFixed(0)}) MB`;
            }),
          ),
          ...["dispatcher", "monitor"].map((name) => row(`${name}, live heap`, ({ heapMB }) => by(name, "MB", heapMB))),
          row("all records' headers read", ({ recordScanMs }) => `${(recordScanMs / 1000).toFixed(2)} s`),
          row("monitor's start until it has seen all", ({ listMs }) => `${(listMs / 1000).toFixed(2)} s`),
          row("SIGKILL of the monitor until a new job is recorded", ({ recoveryMs }) => `${(recoveryMs / 1000).toFixed(2)} s`),
        ],
      },
    ],
  };
}

function megabytes(bytes: number | undefined): number {
  return (bytes ?? Number.NaN) / 1e6;
}
