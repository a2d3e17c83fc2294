import { join } from "node:path";
import type { V1PodList } from "@kubernetes/client-node";
import { command } from "../../scripts/cluster/command.ts";
import { poll } from "../../scripts/cluster/polling.ts";
import type { Installation } from "./installation.ts";

const RUN_MS = 120_000;

/** A service's process, as the machine that the cluster is on sees it. */
export interface ServiceProcess {
  readonly pod: string;
  readonly pid: number;
}

/** The processes of a service's pods, once there is one in each: the kubelet may be about to start one again. */
export async function serviceProcesses(millrace: Installation, service: "dispatcher" | "monitor"): Promise<ServiceProcess[]> {
  const find = async (): Promise<ServiceProcess[] | undefined> => {
    const [pods, pids] = await Promise.all([containers(millrace, service), runningTasks(millrace)]);
    const processes = pods.flatMap(({ pod, container }) => {
      const pid = pids.get(container);
      return pid === undefined ? [] : [{ pod, pid }];
    });
    return pods.length > 0 && processes.length === pods.length ? processes : undefined;
  };
  return poll(find, { what: `a process in each pod of the ${service}s`, deadlineMs: RUN_MS, intervalMs: 500 });
}

/** Of pods that are to stay. */
async function containers(
  { kube, names }: Installation,
  service: string,
): Promise<{ readonly pod: string; readonly container: string }[]> {
  const labelSelector = `app.kubernetes.io/component=${service},app.kubernetes.io/instance=${names.release}`;
  const path = `/api/v1/namespaces/${names.namespace}/pods`;
  const { items } = await kube.json<V1PodList>({ method: "GET", path, query: { labelSelector } });
  return items
    .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
    .map(({ metadata, status }) => ({
      pod: metadata?.name ?? "",
      container: status?.containerStatuses?.[0]?.containerID?.replace(/^containerd:\/\//, "") ?? "",
    }));
}

/** By their containers' ids. */
async function runningTasks({ cluster }: Installation): Promise<ReadonlyMap<string, number>> {
  const socket = join(cluster.stateDir, "containerd.sock");
  const table = await command("ctr", ["-a", socket, "-n", "k8s.io", "task", "ls"]);
  const rows = table.split("\n").map((line) => line.split(/\s+/));
  return new Map(rows.flatMap(([id, pid, state]) => (id !== undefined && state === "RUNNING" ? [[id, Number(pid)]] : [])));
}

/** Who holds the monitors' Lease; empty when nobody does. */
export async function leader(millrace: Installation): Promise<string> {
  const { namespace } = millrace.names;
  return millrace.kubectl(["-n", namespace, "get", "lease", "millrace-monitor", "-o", "jsonpath={.spec.holderIdentity}"]);
}

/** The process of the monitor that leads; nobody does for a moment when a term ends. */
export async function leadingMonitor(millrace: Installation): Promise<ServiceProcess> {
  const find = async (): Promise<ServiceProcess | undefined> => {
    const holder = await leader(millrace);
    return (await serviceProcesses(millrace, "monitor")).find(({ pod }) => pod === holder);
  };
  return poll(find, { what: "a monitor that leads", deadlineMs: RUN_MS, intervalMs: 500 });
}
