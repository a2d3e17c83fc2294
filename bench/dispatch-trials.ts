import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import { CpuMeter, type Memory, memoryOf } from "./harness/cpu.ts";
import { jobBodies } from "./harness/job-bodies.ts";
import { quiet } from "./harness/quiet.ts";
import { each, type RawPoster } from "./harness/raw-poster.ts";
import { type Rig, SAID } from "./harness/rig.ts";
import type { Variant } from "./harness/rounds.ts";

/** One way to bring N Jobs into being, or through their life, measured once. */
export interface Trial {
  readonly jobsPerSecond: number;
  readonly cpuMsPerJob: Readonly<Record<string, number>>;
  /** At the end of the measurement, when all Jobs are there. */
  readonly memory: Readonly<Record<string, Memory>>;
}

export interface TrialOptions {
  readonly raw: RawPoster;
  /** A dispatcher and a broker; nobody keeps records. */
  readonly alone: Rig;
  /** Dispatcher and monitor. */
  readonly engine: Rig;
  readonly control: Readonly<Record<string, number>>;
  /** Jobs in one trial. */
  readonly count: number;
}

/** Requests under way at once in the raw loops, and in whoever plays the Job controller. */
const IN_FLIGHT = 32;

const createdLine = z.object({ job: z.string() });

/** What is compared with what, each from the same start: Jobs that do not exist, messages that wait in a stream or bytes that wait in memory. */
export function trials(options: TrialOptions): Variant<Trial>[] {
  const { raw, alone, engine, control, count } = options;
  const everybody = { ...control, ...prefixed("alone", alone.pids()), ...prefixed("engine", engine.pids()) };

  /** `work` resolves with how long it took. */
  const measured = async (pids: Readonly<Record<string, number>>, work: () => Promise<number>): Promise<Trial> => {
    const watched = { ...control, ...pids };
    const meter = new CpuMeter(watched);
    const elapsedMs = await work();
    const cpuMsPerJob = Object.fromEntries(Object.entries(meter.read()).map(([name, ms]) => [name, ms / count]));
    const memory = Object.fromEntries(Object.entries(watched).map(([name, pid]) => [name, memoryOf(pid)]));
    return { jobsPerSecond: (count / elapsedMs) * 1000, cpuMsPerJob, memory };
  };
  const ids = (name: string, round: number): string[] => Array.from({ length: count }, (_, n) => `${name}-${round}-${n}`);
  /** Says whether it was all there, and removes it. */
  const cleared = async (namespace: string): Promise<void> => {
    const found = await raw.count(namespace);
    if (found !== count) throw new Error(`${namespace} has ${found} Jobs, expected ${count}`);
    await raw.clear(namespace);
  };
  const own = { "raw loop": process.pid };

  return [
    {
      name: "raw POST",
      async run(round) {
        await quiet(everybody);
        const bodies = jobBodies(alone, ids("raw", round));
        const trial = await measured(own, () =>
          elapsed(() => each(bodies, IN_FLIGHT, ({ bytes }) => raw.post(alone.namespace, bytes))),
        );
        await cleared(alone.namespace);
        return trial;
      },
    },
    {
      name: "dispatcher",
      async run(round) {
        await quiet(everybody);
        const release = await alone.load(ids("dispatcher", round));
        const trial = await measured(alone.pids(), async () => {
          const done = alone.service("dispatcher").lines(SAID.created, count);
          const startedMs = performance.now();
          await release();
          return (await done) - startedMs;
        });
        await cleared(alone.namespace);
        await alone.streams.streams.purge("JOBS");
        return trial;
      },
    },
    {
      name: "engine",
      async run(round) {
        await quiet(everybody);
        const release = await engine.load(ids("engine", round));
        const names = createdNames(engine);
        const trial = await measured(engine.pids(), async () => {
          const done = engine.service("monitor").lines(SAID.recorded, count);
          const startedMs = performance.now();
          await release();
          return (await done) - startedMs;
        });
        names.end();
        const settled = engine.service("monitor").lines(SAID.succeeded, count);
        await each(names.seen, IN_FLIGHT, (name) => raw.complete(engine.namespace, name));
        await settled;
        await expiring(engine, raw, count);
        await cleared(engine.namespace);
        return trial;
      },
    },
    {
      name: "raw POST + status",
      async run(round) {
        await quiet(everybody);
        const bodies = jobBodies(alone, ids("raw-life", round));
        const trial = await measured(own, () =>
          elapsed(() =>
            each(bodies, IN_FLIGHT, async ({ name, bytes }) => {
              await raw.post(alone.namespace, bytes);
              await raw.complete(alone.namespace, name);
            }),
          ),
        );
        await cleared(alone.namespace);
        return trial;
      },
    },
    {
      name: "engine, whole life",
      async run(round) {
        await quiet(everybody);
        const release = await engine.load(ids("life", round));
        const completing: Promise<void>[] = [];
        const names = createdNames(engine, (name) => completing.push(raw.complete(engine.namespace, name)));
        const trial = await measured(engine.pids(), async () => {
          const done = engine.service("monitor").lines(SAID.succeeded, count);
          const startedMs = performance.now();
          await release();
          return (await done) - startedMs;
        });
        names.end();
        await Promise.all(completing);
        await expiring(engine, raw, count);
        await cleared(engine.namespace);
        return trial;
      },
    },
  ];
}

async function elapsed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}

/** The names of the Jobs that a rig's dispatcher says it has created, from now until `end`. */
function createdNames(rig: Rig, onName?: (name: string) => void): { readonly seen: string[]; readonly end: () => void } {
  const seen: string[] = [];
  const end = rig.service("dispatcher").onLine((line) => {
    if (!line.includes(SAID.created)) return;
    const { job } = createdLine.parse(JSON.parse(line));
    seen.push(job);
    onName?.(job);
  });
  return { seen, end };
}

/** Resolves when nothing of the Jobs is left to do: the messages are gone, and each Job has its ttl (rule S5). */
async function expiring(rig: Rig, raw: RawPoster, count: number): Promise<void> {
  const { state } = await rig.streams.streams.info("JOBS");
  if (state.messages !== 0) throw new Error(`${state.messages} messages of ${rig.name} are not acknowledged`);
  while ((await raw.settled(rig.namespace)) < count) await setTimeout(500);
}

function prefixed(prefix: string, pids: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [`${prefix} ${name}`, pid]));
}
