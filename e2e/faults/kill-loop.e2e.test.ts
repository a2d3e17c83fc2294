import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { isTerminal } from "../../libs/contract/record.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { command } from "../../scripts/cluster/command.ts";
import { poll } from "../../scripts/cluster/polling.ts";
import { violationsAtRest } from "../../services/testing/oracle.ts";
import { gatherEvidence, JobHistory } from "../harness/evidence.ts";
import { REST_MS } from "../harness/fault-load.ts";
import { FaultReport, tally } from "../harness/fault-report.ts";
import { Installation } from "../harness/installation.ts";
import { Killer } from "../harness/killer.ts";
import { haveAllEnded } from "../harness/time-to-heal.ts";

const SOAK = process.env["SOAK"] === "1";
const COUNT = SOAK ? 300 : 40;
const SEED = 20261122;

let millrace: Installation;
let history: JobHistory;
beforeAll(async () => {
  millrace = await Installation.open();
  const { kube, instance, names } = millrace;
  history = await JobHistory.open({ kube, instance, namespace: names.jobsNamespace });
});
afterAll(async () => {
  await history[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

/** Of every ten: five succeed, two exit 3 for as often as they may, one runs out of memory, two take longer than a strike. */
const SCRIPTS = [
  "true",
  "exit 3",
  "true",
  "sleep 8",
  "true",
  "exit 3",
  "true",
  "head -c 80m /dev/zero | tail",
  "true",
  "sleep 12",
];
const ENDS_DEAD = new Set(["exit 3", "head -c 80m /dev/zero | tail"]);
const script = (index: number): string => SCRIPTS[index % SCRIPTS.length] ?? "true";
const jobMessage = (index: number): object => ({
  id: `kill-${index}`,
  job: {
    prefixName: "kill",
    namespace: millrace.names.jobsNamespace,
    image: "busybox:latest",
    command: ["sh", "-c", script(index)],
    resources: { limits: { memory: "32Mi", cpu: "500m" } },
  },
});

it(`I1-I7: of ${COUNT} mixed jobs each ends exactly once while dispatchers, monitors and NATS are killed`, async () => {
  const random = mulberry32(SEED);
  const { kube, names, cluster } = millrace;
  const sigkill = processOf(cluster.stateDir);
  await using killer = new Killer({ kube, random, sigkill, namespace: names.namespace, release: names.release });
  const done = new AbortController();
  const ids = Array.from({ length: COUNT }, (_, index) => `kill-${index}`);
  const hashes = new Set(ids.map((id) => millrace.hash(id)));
  const isOver = (): boolean => haveAllEnded(millrace.events.events, hashes);
  const working = async (): Promise<void> => {
    for (const index of ids.keys()) await publishAtLast(jobMessage(index), done.signal);
    await millrace.events.waitUntil(`the ends of ${COUNT} jobs`, isOver, SOAK ? 3_600_000 : 600_000);
  };
  const killing = killer.run(done.signal);
  const unended = working().then(
    () => undefined,
    (error: unknown) => error,
  );
  // A killer that fails ends the wait at once.
  const failure = await Promise.race([unended, killing]).finally(() => done.abort());
  await killing;
  const killedMs = performance.now();
  const gather = () => gatherEvidence({ connection: millrace.connection, instance: millrace.instance, history, hashes });
  const atRest = async (): Promise<true | undefined> => {
    // NATS may be on its way back.
    const unrest = await gather().then(violationsAtRest, (error: unknown) => [error]);
    return unrest.length === 0 || undefined;
  };
  // The last of settling may still be under way, or waits for a lease to run out.
  const rested = await poll(atRest, { what: "rest", deadlineMs: REST_MS, intervalMs: 1_000 }).catch(() => false);
  const evidence = await gather();
  const found = violationsAtRest(evidence);
  FaultReport.row({
    fault: "services and NATS: killed one after the other",
    what: `pods of dispatchers, monitors and NATS were killed all the while, ${killer.struck.length} times, as soon as each service had one that was ready again; healed when nothing of the jobs was left to do`,
    jobs: COUNT,
    healMs: rested ? Math.round(performance.now() - killedMs) : null,
    ...tally(found),
  });
  expect(found).toEqual([]);
  if (failure !== undefined) throw failure;
  const outcomes = Object.fromEntries(evidence.records.map(({ id, state }) => [id, state]));
  const wanted = Object.fromEntries(ids.map((id, index) => [id, ENDS_DEAD.has(script(index)) ? "dead" : "succeeded"]));
  expect(evidence.records.every(({ state }) => isTerminal(state))).toBe(true);
  expect(outcomes).toEqual(wanted);
  expect(killer.struck.length).toBeGreaterThan(3);
  expect(new Set(killer.struck.map((struck) => struck.split(" ")[0]))).toEqual(new Set(["dispatcher", "monitor", "nats"]));
}, 3_700_000);

/** A producer that repeats its publish until it is told that the message is stored: the id makes that safe. */
async function publishAtLast(message: object, giveUp: AbortSignal): Promise<void> {
  while (!giveUp.aborted) {
    try {
      await millrace.publish("jobs.default.kill", message);
      return;
    } catch {
      await pause(500, AbortSignal.timeout(500));
    }
  }
}

function processOf(stateDir: string): (containerId: string) => Promise<void> {
  return async (containerId) => {
    const tasks = await command("ctr", ["-a", join(stateDir, "containerd.sock"), "-n", "k8s.io", "task", "ls"]);
    const lines = tasks.split("\n").map((line) => line.split(/\s+/));
    const pid = lines.find(([id]) => id !== undefined && id !== "" && containerId.endsWith(id))?.[1];
    if (pid === undefined) return;
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch (error) {
      // It has ended by itself meanwhile.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
}

/** A small generator with a seed: the same victims in each run. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
