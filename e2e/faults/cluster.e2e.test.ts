import { join } from "node:path";
import { expect, it } from "vitest";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { clusterProcesses, Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";

const LOAD = 5;
const cli = join(import.meta.dirname, "../../cli/bin/millrace.js");

it("a cluster whose processes were all killed without teardown comes back with its jobs' records and running jobs, and runs the next one", async () => {
  await using millrace = await Installation.open();
  await using jobs = await Jobs.open(millrace, "whole");
  const { cluster } = millrace;
  await millrace.publish("jobs.default.hello", { id: "before-the-kill", template: "hello", params: { name: "x" } });
  await millrace.outcome("before-the-kill");
  const messages = Array.from({ length: LOAD }, (_, index) => jobs.message(`through-the-kill-${index}`, "sleep 20"));
  const load = await FaultLoad.publish({ millrace, jobs, messages });
  await load.seen("started", LOAD);
  const processes = await clusterProcesses(cluster);
  expect(processes.length).toBeGreaterThan(10);
  for (const pid of processes) kill(pid);
  await cluster.up();
  load.healing();
  const body = JSON.stringify({ id: "after-the-kill", template: "hello", params: { name: "x" } });
  await command(process.execPath, [cli, "pub", "jobs.default.hello", body, "--wait", "--kubeconfig", cluster.kubeconfig]);
  expect((await millrace.outcome("after-the-kill")).state).toBe("succeeded");
  expect((await millrace.record("before-the-kill"))?.state).toBe("succeeded");
  await load.expectEachOnce({
    fault: "whole cluster: killed",
    what: "every process of it was ended by SIGKILL, those of NATS, of the services and of running jobs too; `make up` started it again, and the jobs were tried again",
  });
  await FaultLoad.expectNothingLeft(millrace);
}, 900_000);

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // Gone already: its parent, killed before it, took it along.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

it("the API server accepts the chart as it is: server-side dry run", async () => {
  const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
  const target = ["--kubeconfig", cluster.kubeconfig, "-n", testProfile.namespace];
  const chart = join(import.meta.dirname, "../../charts/millrace");
  const rendered = await command(join(cluster.binDir, "helm"), ["template", "dry", chart, ...target]);
  const applied = await command(
    join(cluster.binDir, "kubectl"),
    ["apply", "--server-side", "--dry-run=server", "-f", "-", ...target],
    { input: rendered },
  );
  expect(applied.trim().split("\n").length).toBeGreaterThan(10);
  expect(applied).not.toMatch(/error|invalid/i);
});
