import { RawPoster } from "./harness/raw-poster.ts";
import type { Goal, Report } from "./harness/report.ts";
import { Rig } from "./harness/rig.ts";
import { interleaved, median, quantile, spread } from "./harness/rounds.ts";
import type { Bench, Stage } from "./harness/stage.ts";
import { LatencyTrials } from "./latency-trials.ts";

export const latency: Bench = { name: "latency", shape: "api", run };

const SLOTS = 10_000;
const COUNT = { full: 1_000, quick: 200 };
/** Jobs of a burst, from which the rate is taken. */
const BURST = 600;

const SHARED_CORES =
  "a message is stored, delivered, and its record read before the POST, and the cores that do this are those that create, record and tell the Jobs before it";

async function run(stage: Stage): Promise<Report> {
  const count = stage.quick ? COUNT.quick : COUNT.full;
  await using raw = await RawPoster.open({ access: stage.access });
  const services = ["dispatcher", "monitor"] as const;
  await using engine = await Rig.open({ stage, name: "latency", services, firstPort: 14_020, slots: SLOTS });
  const control = { apiserver: stage.cluster.pid("apiserver"), etcd: stage.cluster.pid("etcd") };
  const rawNamespace = "bench-latency-raw";
  await stage.cluster.kubectl().apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: rawNamespace } }]);
  await raw.clear(rawNamespace);
  const trials = new LatencyTrials({ raw, rawNamespace, engine, control });
  // The first burst is the warm-up of everybody.
  await trials.burst("warm-up", BURST);
  const full = await trials.burst("full-load", BURST);
  const perSecond = Math.max(1, Math.round(full / 2));
  stage.progress(`the engine makes ${Math.round(full)} Jobs per second; half of that is ${perSecond}`);
  const variants = [
    { name: "raw POST", run: (round: number) => trials.raw(`raw-${round}`, count, perSecond) },
    { name: "engine", run: (round: number) => trials.engine(`engine-${round}`, count, perSecond) },
  ];
  const results = await interleaved(variants, stage.rounds, stage.progress);
  const of = (name: string, q: number): number[] => (results.get(name) ?? []).map((values) => quantile(values, q));
  const added = (q: number, targetMs: number): Goal => {
    const base = of("raw POST", q);
    const values = of("engine", q).map((ms, round) => ms - (base[round] ?? Number.NaN));
    const met = median(values) <= targetMs;
    return {
      what: `added from publish to Job created, at half load (${perSecond} per second), p${q * 100}`,
      target: `≤ ${targetMs} ms`,
      figure: `${spread(values, 1)} ms`,
      met,
      ...(met ? {} : { note: SHARED_CORES }),
    };
  };
  return {
    name: "latency",
    title: "Latency",
    method: [
      `${count} Jobs at ${perSecond} per second, half of what the engine (dispatcher and monitor) made of a burst of ${BURST} right before.`,
      "The arrivals are fixed in advance (open loop): when one is late, the next ones are not put off, and each is timed from when it was due.",
      "`engine`: from when the publish was due until the dispatcher has the API server's answer. `raw POST`: from when the POST of the same bytes was due until its answer. What the engine adds is the difference of the two quantiles, round by round.",
      "The publish waits for no acknowledgement, and NATS flushes each message to the disk before it hands it on.",
    ],
    goals: [added(0.5, 2), added(0.99, 25)],
    tables: [
      {
        title: "Milliseconds from due to done",
        columns: ["", "p50", "p90", "p99"],
        rows: [...results.keys()].map((name) => [name, ...[0.5, 0.9, 0.99].map((q) => spread(of(name, q), 1))]),
      },
    ],
  };
}
