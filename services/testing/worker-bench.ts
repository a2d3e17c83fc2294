import type { V1Pod } from "@kubernetes/client-node";
import { LABEL } from "../../libs/contract/names.ts";
import { type DispatchConfig, dispatchConfig } from "../../libs/contract/queue-config.ts";
import { parseAckSubject } from "../../libs/contract/source.ts";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { type ClaimHolder, claimKey, type WorkClaim } from "../../libs/contract/work-claim.ts";
import { WORKER_CONTAINER } from "../../libs/contract/worker-end.ts";
import { type Asked, FakeApiServer, json, refuse } from "../../libs/kube/testing/fake-api-server.ts";
import { DELETION_COST } from "../../libs/kube/worker-pods-api.ts";
import { WorkUnderWay } from "../../libs/runtime/health.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { ClaimStore } from "../../libs/streams/claims.ts";
import { replySubject } from "../../libs/streams/messages.ts";
import { type Delivered, INSTANCE, type Workbench } from "../../libs/streams/testing/workbench.ts";
import { Patience } from "../monitor/patience.ts";
import { WorkerWatch } from "../monitor/workers/worker-watch.ts";

export const WORKER = "resize";
export const SUBJECT = "image-downloaded";
export const ACK_WAIT_MS = 120_000;
const NAMESPACE = "millrace";

/** A message that a worker's process holds, and its claim. */
export interface Held extends Delivered {
  readonly key: string;
  readonly claim: WorkClaim;
  readonly revision: number;
}

/** The API server of a release's namespace, as far as workers' pods go: lists, watches, marks. */
export class WorkerCluster implements AsyncDisposable {
  readonly server: FakeApiServer;
  readonly pods = new Map<string, V1Pod>();
  /** Refuses everything of this kind. */
  readonly forbidden = new Set<"list" | "patch">();
  readonly patches: { readonly pod: string; readonly cost: string | null }[] = [];
  readonly #watches = new Set<Asked["response"]>();
  readonly #events: { readonly version: number; readonly line: string }[] = [];
  #version = 1;

  private constructor(server: FakeApiServer) {
    this.server = server;
  }

  static async start(): Promise<WorkerCluster> {
    const server = await FakeApiServer.start((asked) => cluster.#answer(asked));
    const cluster = new WorkerCluster(server);
    return cluster;
  }

  /** How many watches are open. */
  get watches(): number {
    return this.#watches.size;
  }

  add(name: string, status: object = running(), rest: { readonly memoryLimit?: string; readonly cost?: string } = {}): V1Pod {
    const pod = {
      metadata: {
        namespace: NAMESPACE,
        name,
        uid: `uid-${name}`,
        labels: { [LABEL.instance]: INSTANCE, [LABEL.worker]: WORKER },
        annotations: rest.cost === undefined ? {} : { [DELETION_COST]: rest.cost },
      },
      spec: {
        containers: [
          {
            name: WORKER_CONTAINER,
            resources: rest.memoryLimit === undefined ? {} : { limits: { memory: rest.memoryLimit } },
          },
        ],
      },
      status,
    } as V1Pod;
    this.pods.set(name, pod);
    this.#tell("ADDED", pod);
    return pod;
  }

  becomes(name: string, status: object, metadata: object = {}): void {
    const pod = this.#pod(name);
    Object.assign(pod, { status });
    Object.assign(pod.metadata ?? {}, metadata);
    this.#tell("MODIFIED", pod);
  }

  remove(name: string): void {
    const pod = this.#pod(name);
    this.pods.delete(name);
    this.#tell("DELETED", pod);
  }

  /** As a lost connection to the API server: what happens meanwhile is seen by the next list only. */
  cutWatches(): void {
    for (const response of this.#watches) response.destroy();
    this.#watches.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }

  #pod(name: string): V1Pod {
    const pod = this.pods.get(name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }

  #tell(type: string, pod: V1Pod): void {
    this.#version += 1;
    const object = { ...pod, metadata: { ...pod.metadata, resourceVersion: String(this.#version) } };
    const line = `${JSON.stringify({ type, object })}\n`;
    this.#events.push({ version: this.#version, line });
    for (const response of this.#watches) response.write(line);
  }

  #answer({ method, path, query, body, response }: Asked): void {
    if (method === "PATCH") {
      this.#patch(path.split("/").at(-1) ?? "", body as V1Pod, response);
      return;
    }
    if (this.forbidden.has("list")) {
      refuse(response, 403, "Forbidden", "pods is forbidden");
      return;
    }
    if (query.get("watch") === null) {
      json(response, 200, { metadata: { resourceVersion: String(this.#version) }, items: [...this.pods.values()] });
      return;
    }
    response.writeHead(200).flushHeaders();
    const since = Number(query.get("resourceVersion"));
    for (const { version, line } of this.#events) if (version > since) response.write(line);
    this.#watches.add(response);
    response.on("close", () => this.#watches.delete(response));
  }

  #patch(name: string, body: V1Pod, response: Asked["response"]): void {
    const cost = body.metadata?.annotations?.[DELETION_COST] ?? null;
    this.patches.push({ pod: name, cost });
    const pod = this.pods.get(name);
    if (this.forbidden.has("patch")) refuse(response, 403, "Forbidden", "pods is forbidden");
    else if (pod === undefined) refuse(response, 404, "NotFound", `pods "${name}" not found`);
    else {
      Object.assign(pod.metadata?.annotations ?? {}, { [DELETION_COST]: cost });
      json(response, 200, pod);
    }
  }
}

/** One monitor's view of workers, leading. */
export class WorkerMonitor implements AsyncDisposable {
  readonly metrics = new Metrics("monitor");
  readonly watch: WorkerWatch;
  /** How long it has had patience. */
  waitedMs = 0;
  #config: DispatchConfig;
  readonly #listeners = new Set<(config: DispatchConfig) => void>();
  #services: readonly { start(): Promise<void>; stop(): Promise<void> }[] = [];
  #sweeps: readonly { sweep(signal: AbortSignal, beat: () => void): Promise<void> }[] = [];

  constructor(options: {
    readonly cluster: WorkerCluster;
    readonly streams: Workbench;
    readonly ackWaitMs?: number;
    readonly worker?: object;
    readonly workers?: object;
    readonly upForMs?: () => number;
  }) {
    const { cluster, streams, worker = {}, workers = { [WORKER]: { subject: SUBJECT, ...worker } } } = options;
    this.#config = dispatchConfig.parse({ queues: {}, workers });
    const current = (): DispatchConfig => this.#config;
    this.watch = new WorkerWatch({
      client: cluster.server.client,
      connection: streams.connection,
      store: streams.store,
      instance: INSTANCE,
      namespace: NAMESPACE,
      config: {
        get current() {
          return current();
        },
        subscribe: (listener) => {
          this.#listeners.add(listener);
          listener(current());
          return () => this.#listeners.delete(listener);
        },
      },
      ackWaitMs: options.ackWaitMs ?? ACK_WAIT_MS,
      upForMs: options.upForMs ?? (() => 3_600_000),
      patience: () => new Patience({ afterMs: 600_000, nowMs: () => this.waitedMs }),
      underWay: new WorkUnderWay("workers", { stallAfterMs: 900_000 }),
      metrics: this.metrics,
      log: silentLog,
    });
  }

  configure(workers: object): void {
    this.#config = dispatchConfig.parse({ queues: {}, workers });
    for (const listener of this.#listeners) listener(this.#config);
  }

  async follow(): Promise<void> {
    await this.watch.start();
  }

  async lead(): Promise<this> {
    await this.follow();
    const { services, sweeps } = await this.watch.term();
    this.#services = services;
    this.#sweeps = sweeps;
    for (const service of services) await service.start();
    return this;
  }

  async sweep(): Promise<void> {
    for (const one of this.#sweeps) await one.sweep(new AbortController().signal, () => undefined);
  }

  async resign(): Promise<void> {
    for (const service of this.#services.toReversed()) await service.stop();
    this.#services = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resign();
    await this.watch.stop();
  }
}

/** What worker processes do, done by the test. */
export class FakeWorkers {
  readonly #streams: Workbench;
  readonly claims: ClaimStore;

  constructor(streams: Workbench) {
    this.#streams = streams;
    this.claims = new ClaimStore({ broker: streams.store.broker });
  }

  async publish(body = "{}"): Promise<number> {
    return (await this.#streams.client.publish(SUBJECT, body)).seq;
  }

  /** The next delivery of the worker's consumer, with a claim of this process. */
  async take(holder: ClaimHolder, rest: Partial<WorkClaim> = {}): Promise<Held> {
    const delivered = await this.deliver();
    const { source, ack } = delivered;
    const key = claimKey(source.stream, workConsumerName(WORKER), source.seq);
    const { revision } = await this.claims.get(key);
    const delivery = delivered.message.info.deliveryCount;
    const claim: WorkClaim = { worker: WORKER, holder, delivery, ack, failures: 0, free: 0, ...rest };
    const won = await this.claims.swap(key, claim, revision);
    if (won.kind === "lost") throw new Error("somebody else claims it");
    return { ...delivered, key, claim, revision: won.revision };
  }

  async deliver(): Promise<Delivered> {
    const consumer = await this.#streams.client.consumers.get(STREAM.work, workConsumerName(WORKER));
    const message = await consumer.next({ expires: 20_000 });
    if (message === null) throw new Error("nothing was delivered");
    const ack = replySubject(message);
    const source = parseAckSubject(ack);
    if (source === undefined) throw new Error(`not a reply subject: ${ack}`);
    return { message, ack, source };
  }

  async claim(key: string): Promise<WorkClaim | undefined> {
    return (await this.claims.get(key)).stored?.claim;
  }
}

/** A process in the pod of that name, which began at :05. */
export function holderOf(pod: string, rest: Partial<ClaimHolder> = {}): ClaimHolder {
  return { pod: `uid-${pod}`, podName: pod, process: `${pod}-1`, bootedAtMs: Date.parse("2026-01-01T00:00:05.300Z"), ...rest };
}

const at = (second: number): string => `2026-01-01T00:00:${String(second).padStart(2, "0")}Z`;

export function running(second = 5, lastEnd?: object): object {
  const lastState = lastEnd === undefined ? {} : { terminated: lastEnd };
  return status("Running", { running: { startedAt: at(second) } }, lastState);
}

export function ended(exitCode: number, reason: string, { second = 9, phase = "Running" } = {}): object {
  return status(phase, { terminated: endOf(exitCode, reason, second) });
}

export function endOf(exitCode: number, reason: string, second = 9): object {
  return { exitCode, reason, startedAt: at(5), finishedAt: at(second) };
}

export function status(phase: string, state: object, lastState: object = {}, rest: object = {}): object {
  return { phase, containerStatuses: [{ name: WORKER_CONTAINER, state, lastState }], ...rest };
}

export const disrupted = (reason: string): object => ({
  conditions: [{ type: "DisruptionTarget", status: "True", reason, lastTransitionTime: at(8) }],
});
