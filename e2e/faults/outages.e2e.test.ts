import { readFileSync } from "node:fs";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
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
async function underLoad(messages: readonly { readonly id: string }[]): Promise<FaultLoad> {
  const load = await FaultLoad.publish({ millrace, jobs, messages });
  await load.seen("created", 1);
  return load;
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

async function expectEachOnce(load: FaultLoad, row: { readonly fault: string; readonly what: string }): Promise<void> {
  await load.expectEachOnce(row);
  for (const id of load.ids) await jobs.end(id, ["succeeded"]);
  await FaultLoad.expectNothingLeft(millrace);
}

describe(`under a load of ${LOAD} jobs, of which each runs once and none is dead`, () => {
  it("D8: the API server is killed and started again", async () => {
    const load = await underLoad([...many("api", LOAD - 10, 3), ...delayed(10)]);
    const layout = new ClusterLayout({ name: millrace.cluster.name, stateHome: stateHome() });
    const pid = Number(/\d+/.exec(readFileSync(layout.pidFile("apiserver"), "utf8"))?.[0]);
    process.kill(pid, "SIGKILL");
    await millrace.cluster.up();
    load.healing();
    await expectEachOnce(load, {
      fault: "API server: killed, jobs to be made",
      what: "it was ended by SIGKILL while jobs were made and delayed ones came due, and started again; what was published waited",
    });
  }, 600_000);

  it("NATS is killed, and the kubelet starts it again", async () => {
    const load = await underLoad(many("nats", LOAD, 3));
    await millrace.sigkill("nats");
    load.healing();
    await expectEachOnce(load, {
      fault: "NATS: killed",
      what: "the one server was ended by SIGKILL while jobs ran and were made, and the kubelet started it again on the same disk",
    });
  }, 600_000);
});

it("L2: the monitors are away for longer than ack_wait: what is delivered again finds its Job, and is not made twice", async () => {
  const load = await underLoad(many("monitor", 5, 30));
  await load.seen("started", load.ids.length);
  const { namespace } = millrace.names;
  const inRelease = (...args: readonly string[]): Promise<string> => millrace.kubectl(["-n", namespace, ...args]);
  const replicas = await inRelease("get", "deployment", "millrace-monitor", "-o", "jsonpath={.spec.replicas}");
  await inRelease("scale", "deployment", "millrace-monitor", "--replicas=0");
  const monitors = ["pods", "-l", "app.kubernetes.io/component=monitor"] as const;
  await inRelease("wait", "--for=delete", ...monitors, "--timeout=120s");
  const manager = await jetstreamManager(millrace.connection);
  const redelivered = async (): Promise<number> =>
    (await manager.consumers.info(STREAM.jobs, consumerName("default"))).num_redelivered;
  await expect.poll(redelivered, { timeout: 120_000 }).toBe(load.ids.length);
  expect(await inRelease("get", ...monitors, "-o", "name")).toBe("");
  await inRelease("scale", "deployment", "millrace-monitor", `--replicas=${replicas}`);
  load.healing();
  await inRelease("rollout", "status", "deployment", "millrace-monitor", "--timeout=120s");
  await expectEachOnce(load, {
    fault: "monitors: away for longer than ack_wait",
    what: "all of them were taken away until every message had been delivered again: each found its Job and was not made twice",
  });
}, 600_000);
