import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import type { TailedEvent } from "../harness/event-tail.ts";
import { Installation, NOTHING } from "../harness/installation.ts";

const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
const layout = new ClusterLayout({ name: testProfile.cluster, stateHome: stateHome() });

const sleeper = (id: string): object => ({
  id,
  job: {
    prefixName: "part",
    namespace: testProfile.jobsNamespace,
    image: "busybox:latest",
    command: ["sleep", "12"],
    resources: { requests: { cpu: "10m", memory: "16Mi" } },
  },
});

describe("a part of the cluster is killed while jobs run; make up heals it and every job ends once", () => {
  it.each(["etcd", "apiserver", "kubelet", "containerd"])("%s", async (component) => {
    const ids = Array.from({ length: 5 }, (_, index) => `${component}-${index}`);
    {
      await using millrace = await Installation.open();
      await Promise.all(ids.map((id) => millrace.publish("jobs.default.x", sleeper(id))));
      const isStart = ({ kind, data }: TailedEvent): boolean => kind === "started" && ids.includes(String(data["id"]));
      await millrace.events.waitFor("the starts", isStart, ids.length);
      process.kill(pidOf(component), "SIGKILL");
    }
    await cluster.up();
    expect((await cluster.health()).filter(({ state }) => state !== "running")).toEqual([]);
    await using millrace = await Installation.open();
    for (const id of ids) {
      expect((await millrace.outcome(id)).state, id).toBe("succeeded");
      expect([millrace.eventsOf(id, "succeeded"), millrace.eventsOf(id, "dead")], id).toEqual([1, 0]);
    }
    await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
  });
});

function pidOf(component: string): number {
  return Number(/\d+/.exec(readFileSync(layout.pidFile(component), "utf8"))?.[0]);
}
