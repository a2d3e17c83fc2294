import { readFileSync } from "node:fs";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { Installation, NOTHING } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";

const LOAD = 30;

let millrace: Installation;
let jobs: Jobs;
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "out");
});
afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

/** Publishes the jobs and resolves when the first of them is made: the others are about to be, and all the rest is still to be done. */
async function underLoad(messages: readonly { readonly id: string }[]): Promise<string[]> {
  const ids = messages.map(({ id }) => id);
  await Promise.all(messages.map((message) => jobs.publish(message.id, message)));
  const hashes = new Set(ids.map((id) => millrace.hash(id)));
  await millrace.events.waitFor("the first Job", ({ hash, kind }) => hashes.has(hash) && kind === "created");
  return ids;
}

const many = (name: string, count: number, seconds: number) =>
  Array.from({ length: count }, (_, index) => jobs.message(`out-${name}-${index}`, `sleep ${seconds}`));

/** They come due while nothing can be made of them. */
const delayed = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    id: `out-later-${index}`,
    template: "exit",
    params: { code: 0 },
    runAt: new Date(Date.now() + 5_000).toISOString(),
  }));

async function expectEachOnce(ids: readonly string[]): Promise<void> {
  for (const id of ids) await jobs.end(id, ["succeeded"]);
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
  expect(await jobs.violations()).toEqual([]);
}

describe(`under a load of ${LOAD} jobs, of which each runs once and none is dead`, () => {
  it("D8: the API server is killed and started again", async () => {
    const ids = await underLoad([...many("api", LOAD - 10, 3), ...delayed(10)]);
    const layout = new ClusterLayout({ name: millrace.cluster.name, stateHome: stateHome() });
    const pid = Number(/\d+/.exec(readFileSync(layout.pidFile("apiserver"), "utf8"))?.[0]);
    process.kill(pid, "SIGKILL");
    await millrace.cluster.up();
    await expectEachOnce(ids);
  });

  it("NATS is killed, and the kubelet starts it again", async () => {
    const ids = await underLoad(many("nats", LOAD, 3));
    await millrace.sigkill("nats");
    await expectEachOnce(ids);
  });
});

it("L2: the monitors are away for longer than ack_wait: what is delivered again finds its Job, and is not made twice", async () => {
  const ids = await underLoad(many("monitor", 5, 30));
  await Promise.all(ids.map((id) => millrace.started(id)));
  const { namespace } = millrace.names;
  const inRelease = (...args: readonly string[]): Promise<string> => millrace.kubectl(["-n", namespace, ...args]);
  const replicas = await inRelease("get", "deployment", "millrace-monitor", "-o", "jsonpath={.spec.replicas}");
  await inRelease("scale", "deployment", "millrace-monitor", "--replicas=0");
  const manager = await jetstreamManager(millrace.connection);
  const redelivered = async (): Promise<number> =>
    (await manager.consumers.info(STREAM.jobs, consumerName("default"))).num_redelivered;
  await expect.poll(redelivered, { timeout: 120_000 }).toBe(ids.length);
  expect(await inRelease("get", "pods", "-l", "app.kubernetes.io/component=monitor", "-o", "name")).toBe("");
  await inRelease("scale", "deployment", "millrace-monitor", `--replicas=${replicas}`);
  await inRelease("rollout", "status", "deployment", "millrace-monitor", "--timeout=120s");
  await expectEachOnce(ids);
});
