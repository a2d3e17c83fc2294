import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Trial, trials } from "./dispatch-trials.ts";
import { profileTable } from "./harness/cpu-profile.ts";
import { RawPoster } from "./harness/raw-poster.ts";
import type { Goal, Report, Table } from "./harness/report.ts";
import { Rig, SAID } from "./harness/rig.ts";
import { interleaved, median, spread } from "./harness/rounds.ts";
import type { Bench, Stage } from "./harness/stage.ts";

export const dispatch: Bench = { name: "dispatch", shape: "api", run };

/** More than any trial has Jobs: the broker must not be what holds back. */
const SLOTS = 10_000;
const COUNT = { full: 1_000, quick: 400 };
const PROFILED_LOADS = 5;
const MB = 1_000_000;
/** All share the same cores, so whatever a service uses is taken from the API server: what the table of CPU-ms says is the reason of a missed share. */
const CPU_BOUND =
  "all cores are busy in every row, and of the CPU that a Job costs the API server and etcd have most: see the table of CPU-ms. What the services use is spread thinly: see the table of their own time by library";
const WHOLE_LIFE =
  "a life is four requests to the API server where the loop makes two (the list of pods, of which there are none here, and the PATCH of the ttl), each told to two watches, and it has most of the CPU";

async function run(stage: Stage): Promise<Report> {
  const count = stage.quick ? COUNT.quick : COUNT.full;
  await using raw = await RawPoster.open({ access: stage.access });
  await using alone = await Rig.open({ stage, name: "alone", services: ["dispatcher"], firstPort: 14_000, slots: SLOTS });
  const services = ["dispatcher", "monitor"] as const;
  await using engine = await Rig.open({ stage, name: "engine", services, firstPort: 14_010, slots: SLOTS });
  const control = { apiserver: stage.cluster.pid("apiserver"), etcd: stage.cluster.pid("etcd") };
  const results = await interleaved(trials({ raw, alone, engine, control, count }), stage.rounds, stage.progress);
  stage.progress("profile");
  const profile = await profiled(stage, raw, count);
  return {
    name: "dispatch",
    title: "Throughput",
    method: [
      `Each trial brings ${count} Jobs into being. The messages are in the stream before the clock runs, and wait there behind a paused consumer.`,
      "Only etcd and the API server of the cluster run, so Jobs are inert: nobody makes pods of them, and only the path that Millrace is on is measured.",
      "`raw POST` is a loop that POSTs the same bytes, made beforehand, on 32 kept-alive connections and does nothing with the answers.",
      "`dispatcher` ends when the last Job is created; nobody keeps records. `engine` is dispatcher and monitor, and ends when the last record is `running` and has its `created` event.",
      "`engine, whole life` lets each Job be completed, by the status PATCH that the Job controller would send, as soon as it is created; it ends when the last record is `succeeded` and its message acknowledged. It is compared with a raw loop of POST and the same PATCH.",
      "Memory is a process's own; the pages of the Node binary, which all processes of a machine share and the kernel may drop, are told beside it. The processes are limited as in the chart (256 MiB).",
      "A ratio is taken within each round; given are the median and the range of the rounds.",
      `Profiles are taken apart from all that is measured, of a dispatcher and a monitor that make ${PROFILED_LOADS} × ${count} Jobs, one load after the other; they hold the processes' start, too.`,
    ],
    goals: goals(results, count),
    tables: [cpuTable(results), ...(profile === undefined ? [] : [profile])],
  };
}

/** To know where the CPU goes; being profiled costs a tenth, so nothing else is measured there. */
async function profiled(stage: Stage, raw: RawPoster, count: number): Promise<Table | undefined> {
  const profiles = join(stage.cluster.stateDir, "bench", "profiles");
  rmSync(profiles, { recursive: true, force: true });
  mkdirSync(profiles, { recursive: true });
  const name = "profiled";
  {
    const services = ["dispatcher", "monitor"] as const;
    await using rig = await Rig.open({ stage: { ...stage, profiles }, name, services, firstPort: 14_020, slots: SLOTS });
    for (let load = 0; load < PROFILED_LOADS; load += 1) {
      const release = await rig.load(Array.from({ length: count }, (_, n) => `profiled-${load}-${n}`));
      const recorded = rig.service("monitor").lines(SAID.recorded, count);
      await release();
      await recorded;
    }
    await raw.clear(rig.namespace);
  }
  return profileTable(join(profiles, name));
}

function goals(results: ReadonlyMap<string, readonly Trial[]>, count: number): Goal[] {
  const share = (what: string, name: string, base: string, target: number, whyNot?: string): Goal => {
    const bases = rates(results, base);
    const shares = rates(results, name).map((rate, round) => (100 * rate) / (bases[round] ?? Number.NaN));
    const met = median(shares) >= target;
    const note = met || whyNot === undefined ? {} : { note: whyNot };
    return { what, target: `≥ ${target} %`, figure: `${spread(shares)} %`, met, ...note };
  };
  return [
    share("dispatcher alone, of a raw loop of POSTs", "dispatcher", "raw POST", 90, CPU_BOUND),
    share("whole engine until all records are running, of a raw loop of POSTs", "engine", "raw POST", 60, CPU_BOUND),
    share(
      "whole engine, whole life, of a raw loop of POSTs and status PATCHes",
      "engine, whole life",
      "raw POST + status",
      60,
      WHOLE_LIFE,
    ),
    ...["dispatcher", "monitor"].map((name) => memory(results, name, count)),
  ];
}

/** At the end of a trial with `count` live Jobs. */
function memory(results: ReadonlyMap<string, readonly Trial[]>, name: string, count: number): Goal {
  const seen = (results.get("engine") ?? []).flatMap((trial) => trial.memory[name] ?? []);
  const own = seen.map((memory) => memory.own / MB);
  const limit = 100 * MB + 500 * count;
  return {
    what: `memory of the ${name} with ${count} live Jobs, after all that went before`,
    target: `≤ ${Math.round(limit / MB)} MB (100 MB + 0.5 KB for each)`,
    figure: `${spread(own)} MB of its own; ${spread(seen.map(({ resident }) => resident / MB))} MB with Node's program file`,
    met: median(own) * MB <= limit,
  };
}

function cpuTable(results: ReadonlyMap<string, readonly Trial[]>): Table {
  const processes = [...new Set([...results.values()].flat().flatMap(({ cpuMsPerJob }) => Object.keys(cpuMsPerJob)))];
  const cpu = (trialsOfOne: readonly Trial[], process: string): string => {
    const found = trialsOfOne.flatMap(({ cpuMsPerJob }) => cpuMsPerJob[process] ?? []);
    return found.length === 0 ? "" : median(found).toFixed(2);
  };
  return {
    title: "CPU-ms for each Job, by process",
    columns: ["", "Jobs/s", ...processes],
    rows: [...results].map(([name, list]) => [
      name,
      spread(rates(results, name)),
      ...processes.map((process) => cpu(list, process)),
    ]),
  };
}

function rates(results: ReadonlyMap<string, readonly Trial[]>, name: string): number[] {
  return (results.get(name) ?? []).map(({ jobsPerSecond }) => jobsPerSecond);
}
