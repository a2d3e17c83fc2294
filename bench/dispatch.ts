import { CpuMeter, residentBytes } from "./harness/cpu.ts";
import { jobBodies } from "./harness/job-bodies.ts";
import { each, RawPoster } from "./harness/raw-poster.ts";
import type { Report } from "./harness/report.ts";
import { Rig } from "./harness/rig.ts";
import { interleaved, median, spread, type Variant } from "./harness/rounds.ts";
import type { Bench, Stage } from "./harness/stage.ts";

/** One way to bring N Jobs into being, measured once. */
interface Run {
  readonly jobsPerSecond: number;
  readonly cpuMsPerJob: Readonly<Record<string, number>>;
}

/** POSTs under way at once in the raw loop. */
const IN_FLIGHT = 32;

export const dispatch: Bench = { name: "dispatch", shape: "api", run };

async function run(stage: Stage): Promise<Report> {
  const count = stage.quick ? 200 : 1_000;
  await using raw = new RawPoster({ access: stage.access });
  await using alone = await Rig.open({ stage, name: "alone", services: ["dispatcher"], firstPort: 14_000, slots: 10_000 });
  const control = { apiserver: stage.cluster.pid("apiserver"), etcd: stage.cluster.pid("etcd") };
  const idsOf = (round: number, kind: string): string[] => Array.from({ length: count }, (_, n) => `${kind}-${round}-${n}`);

  const measured = async (pids: Record<string, number>, work: () => Promise<number>): Promise<Run> => {
    const meter = new CpuMeter({ ...control, ...pids });
    const elapsedMs = await work();
    const cpuMsPerJob = Object.fromEntries(Object.entries(meter.read()).map(([name, ms]) => [name, ms / count]));
    return { jobsPerSecond: (count / elapsedMs) * 1000, cpuMsPerJob };
  };
  const emptied = async (namespace: string): Promise<void> => {
    const found = await raw.count(namespace);
    if (found !== count) throw new Error(`${namespace} has ${found} Jobs, expected ${count}`);
    await raw.clear(namespace);
  };

  const variants: Variant<Run>[] = [
    {
      name: "raw",
      async run(round) {
        const { namespace } = alone;
        const bodies = jobBodies(alone, idsOf(round, "raw"));
        const result = await measured({ "bench (raw loop)": process.pid }, async () => {
          const startedMs = performance.now();
          await each(bodies, IN_FLIGHT, ({ bytes }) => raw.post(namespace, bytes));
          return performance.now() - startedMs;
        });
        await emptied(namespace);
        return result;
      },
    },
    {
      name: "dispatcher",
      async run(round) {
        await alone.pause();
        await alone.publish(idsOf(round, "dispatcher"));
        const result = await measured(alone.pids(), async () => {
          const done = alone.service("dispatcher").lines('"job.created"', count);
          const startedMs = performance.now();
          await alone.resume();
          return (await done) - startedMs;
        });
        await emptied(alone.namespace);
        await alone.streams.streams.purge("JOBS");
        return result;
      },
    },
  ];
  const results = await interleaved(variants, stage.rounds, stage.progress);
  const runs = (name: string): Run[] => results.get(name) ?? [];
  const rate = (name: string): number[] => runs(name).map(({ jobsPerSecond }) => jobsPerSecond);
  const ratios = rate("dispatcher").map((value, round) => (100 * value) / (rate("raw")[round] ?? Number.NaN));
  stage.progress(`resident: dispatcher ${Math.round(residentBytes(alone.service("dispatcher").pid) / 1e6)} MB`);
  return {
    name: "dispatch",
    title: "Jobs per second",
    method: [],
    goals: [
      {
        what: "dispatcher alone, of the raw loop",
        target: "≥ 90 %",
        figure: `${spread(ratios)} %`,
        met: median(ratios) >= 90,
      },
    ],
    tables: [
      {
        title: "CPU-ms per job",
        columns: ["", "Jobs/s", ...processes(results)],
        rows: [...results].map(([name, list]) => [
          name,
          spread(rate(name)),
          ...processes(results).map((key) => {
            const found = list.flatMap(({ cpuMsPerJob }) => cpuMsPerJob[key] ?? []);
            return found.length === 0 ? "" : median(found).toFixed(2);
          }),
        ]),
      },
    ],
  };
}

function processes(results: ReadonlyMap<string, readonly Run[]>): string[] {
  return [...new Set([...results.values()].flat().flatMap(({ cpuMsPerJob }) => Object.keys(cpuMsPerJob)))];
}
