import { setTimeout as sleep } from "node:timers/promises";
import { binaryVersion } from "../scripts/cluster/binaries.ts";
import type { Goal, Report, Table } from "./harness/report.ts";
import { interleaved, median, quantile, spread } from "./harness/rounds.ts";
import { type Scaled, type ScaledWorker, ScaledWorkers } from "./harness/scaled-workers.ts";
import type { Bench, Stage } from "./harness/stage.ts";

const MESSAGES_PER_ROUND = 3;
/** For a 99th percentile of five rounds; a warm-up needs no more than the others have. */
const PUSHES_PER_ROUND = 25;
/** While one comes to rest, which takes as long as KEDA's own poll, others are woken. */
const PUSHED_WORKERS = 10;
/** Of fewer values a 99th percentile is the highest one. */
const LEAST_FOR_P99 = 100;
const PUSH_TARGET_MS = 250;
/** So rarely that hardly a worker is woken by KEDA's own poll; by that its last pod goes, too. */
const PUSH_POLL_SECONDS = 10;

interface Way {
  readonly title: string;
  /** They take turns. */
  readonly workers: readonly ScaledWorker[];
  readonly perRound: number;
}

const pushed = Array.from({ length: PUSHED_WORKERS }, (_, index): ScaledWorker => {
  return { name: `push-${index}`, trigger: "push", pollSeconds: PUSH_POLL_SECONDS };
});
const polled = (pollSeconds: number): ScaledWorker => ({ name: `poll-${pollSeconds}s`, trigger: "poll", pollSeconds });

const ways: readonly Way[] = [
  { title: "external-push (Millrace's scaler)", workers: pushed, perRound: PUSHES_PER_ROUND },
  { title: "nats-jetstream, polls each 1 s", workers: [polled(1)], perRound: MESSAGES_PER_ROUND },
  { title: "nats-jetstream, polls each 10 s", workers: [polled(10)], perRound: MESSAGES_PER_ROUND },
];

/** It installs the chart, whose release no other bench may meet. */
export const scale: Bench = { name: "scale", shape: "whole", spendsCluster: true, run };

async function run(stage: Stage): Promise<Report> {
  await using workers = await ScaledWorkers.install({ stage, workers: ways.flatMap((way) => way.workers) });
  const variants = ways.map((way) => ({
    name: way.title,
    run: async (round: number): Promise<Scaled[]> => {
      const messages = stage.quick ? 1 : round < 0 ? MESSAGES_PER_ROUND : way.perRound;
      const seen: Scaled[] = [];
      for (const worker of Array.from({ length: messages }, (_, count) => inTurn(way.workers, count))) {
        await workers.atRest(worker);
        // It came to rest at a poll; messages come at any moment between two.
        await sleep(Math.random() * (worker.trigger === "poll" ? worker.pollSeconds : 1) * 1_000);
        seen.push(await workers.wake(worker));
      }
      for (const worker of way.workers) await workers.atRest(worker);
      stage.progress(`${way.title}: ${seen.map(({ replicasMs, handlerMs }) => `${replicasMs}/${handlerMs}`).join(", ")} ms`);
      return seen;
    },
  }));
  return reportOf(await interleaved(variants, stage.rounds, stage.progress));
}

function inTurn(workers: readonly ScaledWorker[], count: number): ScaledWorker {
  const worker = workers[count % workers.length];
  if (worker === undefined) throw new Error("a way has no worker");
  return worker;
}

type Seen = ReadonlyMap<string, readonly (readonly Scaled[])[]>;

function reportOf(seen: Seen): Report {
  const [push = [], quick = [], slow = []] = ways.map(({ title }) => seen.get(title) ?? []);
  const replicas = ({ replicasMs }: Scaled): number => replicasMs;
  const handler = ({ handlerMs }: Scaled): number => handlerMs;
  const pushes = push.flat().map(replicas);
  const p99 = quantile(pushes, 0.99);
  const sooner = (theirs: readonly (readonly Scaled[])[], seconds: number): Goal => {
    const ratio = median(theirs.flat().map(replicas)) / median(pushes);
    const what = `publish → a worker's replicas 0→1, external-push against nats-jetstream that polls each ${seconds} s`;
    return { what, target: "sooner", figure: `${ratio.toFixed(0)}×`, met: ratio > 1 };
  };
  return {
    name: "scale",
    title: "From the message to the first pod of its worker",
    method: [
      `KEDA ${binaryVersion("keda").slice(1)} and Millrace by its chart on one cluster of one node; workers of the same image, which differ by their trigger.`,
      "Each starts from no pod at all, one message at a time. The ways take turns: the next one begins when all pods of the one before are gone.",
      `With \`external-push\` ${PUSHED_WORKERS} workers take turns: while the pods of some go, others are woken. ${PUSHES_PER_ROUND} messages per round, of the other ways ${MESSAGES_PER_ROUND}.`,
      "With a trigger that polls, the message comes at a random moment between two polls, and both of the chart's triggers (WORK and WORK_RETRY) are asked.",
      `With \`external-push\` KEDA's own poll is at ${PUSH_POLL_SECONDS} s, so that it is the push that is measured.`,
      "From just before the publish until one observer's watch shows `replicas: 1`, and until the first line of the handler, by the one clock of the machine. The image is on the node.",
    ],
    goals: [
      {
        what: "publish → a worker's replicas 0→1, external-push, p99",
        target: `≤ ${PUSH_TARGET_MS} ms`,
        figure: `${p99.toFixed(0)} ms`,
        met: p99 <= PUSH_TARGET_MS,
        ...(pushes.length < LEAST_FOR_P99 ? { note: `the highest of ${pushes.length}` } : {}),
      },
      sooner(quick, 1),
      sooner(slow, 10),
    ],
    tables: [
      tableOf("Publish → replicas 1, ms", seen, replicas),
      tableOf("Publish → first line of the handler, ms", seen, handler),
    ],
  };
}

function tableOf(title: string, seen: Seen, of: (scaled: Scaled) => number): Table {
  return {
    title,
    columns: ["", "messages", "p50 (rounds' lowest–highest)", "p90", "p99", "lowest", "highest"],
    rows: [...seen].map(([name, rounds]) => {
      const all = rounds.flat().map(of);
      const text = (figure: number): string => figure.toFixed(0);
      const p99 = all.length < LEAST_FOR_P99 ? "–" : text(quantile(all, 0.99));
      const bounds = [Math.min(...all), Math.max(...all)].map(text);
      const middle = spread(rounds.map((round) => median(round.map(of))));
      return [name, String(all.length), middle, text(quantile(all, 0.9)), p99, ...bounds];
    }),
  };
}
