import { setTimeout as sleep } from "node:timers/promises";
import { binaryVersion } from "../scripts/cluster/binaries.ts";
import type { Goal, Report, Table } from "./harness/report.ts";
import { interleaved, median, quantile, spread } from "./harness/rounds.ts";
import { type Scaled, type ScaledWorker, ScaledWorkers } from "./harness/scaled-workers.ts";
import type { Bench, Stage } from "./harness/stage.ts";

const MESSAGES_PER_ROUND = 3;
const PUSH_TARGET_MS = 250;
/** So rarely that hardly a worker is woken by KEDA's own poll; by that its last pod goes, too. */
const PUSH_POLL_SECONDS = 10;

const ways: readonly ScaledWorker[] = [
  { name: "push", title: "external-push (Millrace's scaler)", trigger: "push", pollSeconds: PUSH_POLL_SECONDS },
  { name: "poll-1s", title: "nats-jetstream, polls each 1 s", trigger: "poll", pollSeconds: 1 },
  { name: "poll-10s", title: "nats-jetstream, polls each 10 s", trigger: "poll", pollSeconds: 10 },
];

/** It installs the chart, whose release no other bench may meet. */
export const scale: Bench = { name: "scale", shape: "whole", spendsCluster: true, run };

async function run(stage: Stage): Promise<Report> {
  await using workers = await ScaledWorkers.install({ stage, workers: ways });
  const messages = stage.quick ? 1 : MESSAGES_PER_ROUND;
  const variants = ways.map((way) => ({
    name: way.title,
    run: async (): Promise<Scaled[]> => {
      const seen: Scaled[] = [];
      for (let count = 0; count < messages; count += 1) {
        await workers.atRest(way);
        // It came to rest at a poll; messages come at any moment between two.
        await sleep(Math.random() * (way.trigger === "poll" ? way.pollSeconds : 1) * 1_000);
        seen.push(await workers.wake(way));
      }
      stage.progress(`${way.title}: ${seen.map(({ replicasMs, handlerMs }) => `${replicasMs}/${handlerMs}`).join(", ")} ms`);
      return seen;
    },
  }));
  return reportOf(await interleaved(variants, stage.rounds, stage.progress), messages);
}

type Seen = ReadonlyMap<string, readonly (readonly Scaled[])[]>;

function reportOf(seen: Seen, messages: number): Report {
  const [push = [], quick = [], slow = []] = ways.map(({ title }) => seen.get(title) ?? []);
  const replicas = ({ replicasMs }: Scaled): number => replicasMs;
  const handler = ({ handlerMs }: Scaled): number => handlerMs;
  const p99 = quantile(push.flat().map(replicas), 0.99);
  const sooner = (theirs: readonly (readonly Scaled[])[], seconds: number): Goal => {
    const ratio = median(theirs.flat().map(replicas)) / median(push.flat().map(replicas));
    const what = `publish → a worker's replicas 0→1, external-push against nats-jetstream that polls each ${seconds} s`;
    return { what, target: "sooner", figure: `${ratio.toFixed(0)}×`, met: ratio > 1 };
  };
  return {
    name: "scale",
    title: "From the message to the first pod of its worker",
    method: [
      `KEDA ${binaryVersion("keda").slice(1)} and Millrace by its chart on one cluster of one node; three workers of the same image, which differ by their trigger.`,
      "Each starts from no pod at all, one message at a time, in turns: the next way begins when the pods of the one before are gone.",
      "With a trigger that polls, the message comes at a random moment between two polls, and both of the chart's triggers (WORK and WORK_RETRY) are asked.",
      `With \`external-push\` KEDA's own poll is at ${PUSH_POLL_SECONDS} s, so that it is the push that is measured.`,
      "From just before the publish until one observer's watch shows `replicas: 1`, and until the first line of the handler, by the one clock of the machine. The image is on the node.",
      `${messages} messages per round.`,
    ],
    goals: [
      {
        what: "publish → a worker's replicas 0→1, external-push, p99",
        target: `≤ ${PUSH_TARGET_MS} ms`,
        figure: `${p99.toFixed(0)} ms`,
        met: p99 <= PUSH_TARGET_MS,
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
    columns: ["", "p50 (rounds' lowest–highest)", "p90", "p99", "lowest", "highest"],
    rows: [...seen].map(([name, rounds]) => {
      const all = rounds.flat().map(of);
      const figures = [quantile(all, 0.9), quantile(all, 0.99), Math.min(...all), Math.max(...all)];
      return [name, spread(rounds.map((round) => median(round.map(of)))), ...figures.map((figure) => figure.toFixed(0))];
    }),
  };
}
