import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";

const LOAD = 5;
const layout = new ClusterLayout({ name: testProfile.cluster, stateHome: stateHome() });

const COMPONENTS = [
  { component: "etcd", fault: "etcd: killed" },
  { component: "apiserver", fault: "API server: killed, all jobs running" },
  { component: "kubelet", fault: "kubelet: killed" },
  { component: "containerd", fault: "containerd: killed" },
] as const;

let millrace: Installation;
let jobs: Jobs;
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "part");
});
afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

describe("a part of the cluster is killed while jobs run; make up heals it and every job ends once", () => {
  it.each(COMPONENTS)(
    "$component",
    async ({ component, fault }) => {
      const messages = Array.from({ length: LOAD }, (_, index) => jobs.message(`${component}-${index}`, "sleep 12"));
      const load = await FaultLoad.publish({ millrace, jobs, messages });
      await load.seen("started", LOAD);
      process.kill(pidOf(component), "SIGKILL");
      await millrace.cluster.up();
      load.healing();
      expect((await millrace.cluster.health()).filter(({ state }) => state !== "running")).toEqual([]);
      await load.expectEachOnce({
        fault,
        what: "its process was ended by SIGKILL while jobs ran, and `make up` started it again",
      });
      await FaultLoad.expectNothingLeft(millrace);
    },
    600_000,
  );
});

function pidOf(component: string): number {
  return Number(/\d+/.exec(readFileSync(layout.pidFile(component), "utf8"))?.[0]);
}
