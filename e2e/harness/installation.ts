import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { V1Job, V1JobList, V1Pod } from "@kubernetes/client-node";
import { jetstream } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { openTunnel, type ServiceAddress, type Tunnel } from "../../cli/src/port-forward.ts";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { isMillraceError } from "../../libs/contract/errors.ts";
import { jobHash, jobSelector, LABEL } from "../../libs/contract/names.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { kubeconfigAccess } from "../../libs/kube/access.ts";
import { KubeClient } from "../../libs/kube/client.ts";
import { jobsPath } from "../../libs/kube/jobs-api.ts";
import { Watch } from "../../libs/kube/watch.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { readEnv } from "../../libs/runtime/env.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { connectNats, natsEnv } from "../../libs/streams/connection.ts";
import { RecordStore } from "../../libs/streams/records.ts";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { Changes } from "./changes.ts";
import { EventTail, type TailedEvent } from "./event-tail.ts";
import { type Leftovers, readLeftovers } from "./leftovers.ts";
import type { ReleaseNames } from "./release.ts";
import { streamMessages } from "./stream-messages.ts";

export { NOTHING } from "./leftovers.ts";

export interface DeadLetter {
  readonly subject: string;
  readonly code: string;
  readonly reason: string;
  readonly class: string;
  readonly id: string;
  /** As they stand there: most are ASCII JSON. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const NATS_READY_MS = 120_000;
/** The kubelet waits before it starts a container again that has just ended, and the node may be busy. */
const PODS_MS = 180_000;

interface PodState {
  readonly uid: string;
  readonly name: string;
  readonly restarts: number;
  readonly ready: boolean;
  readonly containerId: string;
}

type ServiceName = "dispatcher" | "monitor" | "nats";

/** The chart on the tests' cluster, as a producer and an operator see it. */
export class Installation implements AsyncDisposable {
  readonly cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
  readonly names: ReleaseNames;
  readonly instance: string;
  readonly kube: KubeClient;
  readonly connection: NatsConnection;
  readonly events: EventTail;
  readonly records: RecordStore;
  readonly #tunnel: Tunnel | undefined;

  private constructor(parts: {
    names: ReleaseNames;
    kube: KubeClient;
    connection: NatsConnection;
    events: EventTail;
    records: RecordStore;
    tunnel: Tunnel | undefined;
  }) {
    this.names = parts.names;
    this.instance = `${parts.names.namespace}.${parts.names.release}`;
    this.kube = parts.kube;
    this.connection = parts.connection;
    this.events = parts.events;
    this.records = parts.records;
    this.#tunnel = parts.tunnel;
  }

  /** The release that all tests share, unless another is named. `natsUrl`: of a NATS that is not part of the release. */
  static async open(names: ReleaseNames = testProfile, natsUrl?: string): Promise<Installation> {
    const { kubeconfig } = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
    const kube = new KubeClient({ access: await kubeconfigAccess(kubeconfig) });
    const tunnel = natsUrl === undefined ? await tunnelTo(names, kubeconfig) : undefined;
    const connection = await connectNats({
      settings: { ...readEnv(natsEnv, {}), NATS_URL: natsUrl ?? `nats://127.0.0.1:${tunnel?.port}` },
      name: "e2e",
    });
    const events = await EventTail.open(connection);
    return new Installation({ names, kube, tunnel, connection, events, records: await RecordStore.open(connection) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.events[Symbol.asyncDispose]();
    await this.connection.close();
    await this.#tunnel?.[Symbol.asyncDispose]();
    await this.kube.close();
  }

  hash(id: string, queue = "default"): string {
    return jobHash(this.instance, queue, id);
  }

  async publish(
    subject: string,
    body: string | Uint8Array | object,
    headerFields: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const head = headers();
    for (const [name, value] of Object.entries(headerFields)) head.set(name, value);
    const payload = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
    const ack = await jetstream(this.connection).publish(subject, payload, { headers: head });
    return `${ack.stream}-${ack.seq}-`;
  }

  async record(id: string, queue = "default"): Promise<JobRecord | undefined> {
    return (await this.records.get(this.hash(id, queue)))?.record;
  }

  /** Waits for the terminal event of an id and returns its record. */
  async outcome(id: string, queue = "default"): Promise<JobRecord> {
    const hash = this.hash(id, queue);
    await this.events.waitFor(
      `the outcome of ${id}`,
      (event) => event.hash === hash && ["succeeded", "dead"].includes(event.kind),
    );
    const record = await this.record(id, queue);
    if (record === undefined) throw new Error(`${id} has a terminal event but no record`);
    return record;
  }

  /** Waits until an attempt of an id has started. */
  async started(id: string, attempt = 1, queue = "default"): Promise<TailedEvent> {
    const hash = this.hash(id, queue);
    const isStart = (event: TailedEvent): boolean => event.hash === hash && event.kind === "started" && event.attempt === attempt;
    const [event] = await this.events.waitFor(`the start of attempt ${attempt} of ${id}`, isStart);
    if (event === undefined) throw new Error(`${id} has not started`);
    return event;
  }

  eventsOf(id: string, kind: string, queue = "default"): number {
    const hash = this.hash(id, queue);
    return this.events.events.filter((event) => event.hash === hash && event.kind === kind).length;
  }

  async deadLetters(): Promise<DeadLetter[]> {
    return (await streamMessages(this.connection, STREAM.deadLetters)).map((message) => {
      const text = (name: string): string => message.headers?.get(name) ?? "";
      const json = (name: string): string => (text(name) === "" ? "" : String(JSON.parse(text(name))));
      return {
        subject: message.subject,
        code: text(DLQ_HEADER.code),
        reason: json(DLQ_HEADER.reason),
        class: text(DLQ_HEADER.class),
        id: json(DLQ_HEADER.id),
        headers: Object.fromEntries((message.headers?.keys() ?? []).map((name) => [name, text(name)])),
        body: Buffer.from(message.data),
      };
    });
  }

  async jobs(id: string, queue = "default"): Promise<V1Job[]> {
    const list = await this.kube.json<V1JobList>({
      method: "GET",
      path: jobsPath(this.names.jobsNamespace),
      query: { labelSelector: `${jobSelector(this.instance)},${LABEL.job}=${this.hash(id, queue)}` },
    });
    return list.items;
  }

  /** The log of the only pod of an id's Job. */
  async log(id: string): Promise<string> {
    const name = (await this.jobs(id))[0]?.metadata?.name ?? "";
    return this.kubectl(["-n", this.names.jobsNamespace, "logs", `job/${name}`]);
  }

  kubectl(args: readonly string[], input = ""): Promise<string> {
    return command(join(this.cluster.binDir, "kubectl"), ["--kubeconfig", this.cluster.kubeconfig, ...args], { input });
  }

  /**
   * SIGKILL to every process of the service, as the kernel would; resolves when the kubelet has started each again and it is ready. A pod that was
   * killed before is replaced first: the kubelet waits longer before each restart of one container.
   */
  async sigkill(service: ServiceName): Promise<void> {
    await using pods = await this.#servicePods(service);
    await pods.waitFor("all to be ready", (all) => all.length > 0 && all.every((pod) => pod.ready));
    const count = pods.values().length;
    const worn = pods.values().filter(({ restarts }) => restarts > 0);
    if (worn.length > 0) await this.kubectl(["-n", this.names.namespace, "delete", "pod", ...worn.map(({ name }) => name)]);
    const isFresh = (pod: PodState): boolean => pod.ready && worn.every(({ uid }) => uid !== pod.uid);
    await pods.waitFor("others in their place", (all) => all.length >= count && all.every(isFresh));
    const victims = pods.values();
    const socket = join(this.cluster.stateDir, "containerd.sock");
    const tasks = (await command("ctr", ["-a", socket, "-n", "k8s.io", "task", "ls"]))
      .split("\n")
      .map((line) => line.split(/\s+/));
    for (const { name, containerId } of victims) {
      const pid = tasks.find(([id]) => containerId.endsWith(id ?? "-"))?.[1];
      if (pid === undefined) throw new Error(`no process of ${name} (${containerId}) among ${JSON.stringify(tasks)}`);
      process.kill(Number(pid), "SIGKILL");
    }
    await pods.waitFor("each to be started again", (all) =>
      victims.every(({ uid, restarts }) => all.some((pod) => pod.uid === uid && pod.restarts > restarts && pod.ready)),
    );
  }

  /** The log lines of all pods of a service. */
  async logLines(service: ServiceName): Promise<string[]> {
    const selector = `app.kubernetes.io/component=${service},app.kubernetes.io/instance=${this.names.release}`;
    const text = await this.kubectl(["-n", this.names.namespace, "logs", "-l", selector, "--tail=-1", "--prefix=false"]);
    return text.split("\n").filter((line) => line !== "");
  }

  async restarts(): Promise<number> {
    await using dispatcher = await this.#servicePods("dispatcher");
    await using monitor = await this.#servicePods("monitor");
    return [...dispatcher.values(), ...monitor.values()].reduce((sum, pod) => sum + pod.restarts, 0);
  }

  async #servicePods(service: ServiceName) {
    const changes = new Changes();
    const watch = new Watch<PodState>({
      client: this.kube,
      path: `/api/v1/namespaces/${this.names.namespace}/pods`,
      selector: { labelSelector: `app.kubernetes.io/component=${service},app.kubernetes.io/instance=${this.names.release}` },
      project: (object) => podState(object as V1Pod),
      onChange: () => changes.announce(),
      log: silentLog,
    });
    await watch.start();
    const values = (): PodState[] => [...watch.values()];
    return {
      values,
      waitFor: (what: string, holds: (pods: readonly PodState[]) => boolean): Promise<void> =>
        changes.untilTrue(() => holds(values()), { what: `${service}: ${what}`, limitMs: PODS_MS, seen: values }),
      [Symbol.asyncDispose]: () => watch.stop(),
    };
  }

  leftovers(): Promise<Leftovers> {
    const { connection, kube, records, instance, names } = this;
    const more = names.release === testProfile.release ? testProfile.extraNamespaces : [];
    return readLeftovers({ connection, kube, records, instance, jobsNamespaces: [names.jobsNamespace, ...more] });
  }
}

function tunnelTo({ release, namespace }: ReleaseNames, kubeconfig: string): Promise<Tunnel> {
  const service = release.includes("millrace") ? `${release}-nats` : `${release}-millrace-nats`;
  return tunnelAtLast({ kubeconfig, context: undefined, namespace, service, port: 4222 });
}

/** As the command does: a pod that is just being started, or whose node has just come back, is waited for. */
async function tunnelAtLast(address: ServiceAddress): Promise<Tunnel> {
  const deadline = AbortSignal.timeout(NATS_READY_MS);
  for (;;) {
    try {
      return await openTunnel(address);
    } catch (error) {
      if (!isMillraceError(error) || error.code !== "NATS_NOT_READY" || deadline.aborted) throw error;
      await pause(1_000, deadline);
    }
  }
}

function podState(pod: V1Pod): PodState {
  const status = pod.status?.containerStatuses?.[0];
  return {
    uid: pod.metadata?.uid ?? "",
    name: pod.metadata?.name ?? "",
    restarts: status?.restartCount ?? 0,
    ready: status?.ready ?? false,
    containerId: status?.containerID ?? "",
  };
}

/** Every process of the cluster, of pods too, by its network namespace and its cgroups. */
export async function clusterProcesses(cluster: LocalCluster): Promise<number[]> {
  const inNetwork = (await command("ip", ["netns", "pids", cluster.name])).split("\n").map(Number);
  const root = "/sys/fs/cgroup/pids";
  const inPods = readdirSync(join(root, cluster.name), { recursive: true, encoding: "utf8" })
    .filter((entry) => entry.endsWith("cgroup.procs"))
    .map((entry) => join(root, cluster.name, entry));
  const pods = await Promise.all(inPods.map(async (file) => (await command("cat", [file])).split("\n").map(Number)));
  return [...new Set([...inNetwork, ...pods.flat()])].filter((pid) => pid > 1);
}
