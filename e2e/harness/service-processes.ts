import { join } from "node:path";
import type { V1PodList } from "@kubernetes/client-node";
import { command } from "../../scripts/cluster/command.ts";
import type { Installation } from "./installation.ts";

/** A service's process, as the machine that the cluster is on sees it. */
export interface ServiceProcess {
  readonly pod: string;
  readonly pid: number;
}

/** The processes of a service's running pods. */
export async function serviceProcesses(millrace: Installation, service: "dispatcher" | "monitor"): Promise<ServiceProcess[]> {
  const { kube, names, cluster } = millrace;
  const labelSelector = `app.kubernetes.io/component=${service},app.kubernetes.io/instance=${names.release}`;
  const path = `/api/v1/namespaces/${names.namespace}/pods`;
  const { items } = await kube.json<V1PodList>({ method: "GET", path, query: { labelSelector } });
  const pids = new Map<string, number>();
  const socket = join(cluster.stateDir, "containerd.sock");
  for (const line of (await command("ctr", ["-a", socket, "-n", "k8s.io", "task", "ls"])).split("\n")) {
    const [container = "", pid] = line.split(/\s+/);
    pids.set(container, Number(pid));
  }
  return items
    .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
    .map(({ metadata, status }) => {
      const container = status?.containerStatuses?.[0]?.containerID?.replace(/^containerd:\/\//, "") ?? "";
      const pid = pids.get(container);
      const pod = metadata?.name ?? "";
      if (pid === undefined) throw new Error(`no process of ${pod} (${container})`);
      return { pod, pid };
    });
}

/** Who holds the monitors' Lease; empty when nobody does. */
export async function leader(millrace: Installation): Promise<string> {
  const { namespace } = millrace.names;
  return millrace.kubectl(["-n", namespace, "get", "lease", "millrace-monitor", "-o", "jsonpath={.spec.holderIdentity}"]);
}
