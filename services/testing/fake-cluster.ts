import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { LABEL } from "../../libs/contract/names.ts";
import { type JobView, podEnded } from "../../libs/contract/observation.ts";
import { JobsApi } from "../../libs/kube/jobs-api.ts";
import { NamespacesApi } from "../../libs/kube/namespaces-api.ts";
import { type Asked, FakeApiServer, json, refuse } from "../../libs/kube/testing/fake-api-server.ts";
import { jobView, podView } from "../../libs/kube/views.ts";

/** `status` 0: the connection breaks. `made`: the Job is there all the same, as when an answer is lost after the commit. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly retryAfterSeconds?: number;
  readonly made?: boolean;
}

const NAMESPACE = /^\/api\/v1\/namespaces\/([^/]+)$/;
const CONFIG_MAPS = /^\/api\/v1\/namespaces\/[^/]+\/configmaps$/;
const OBJECTS = /^\/(?:apis\/batch|api)\/v1\/namespaces\/([^/]+)\/(jobs|pods)(?:\/([^/]+))?(\/log)?$/;
const OWNER_LABEL = "batch.kubernetes.io/controller-uid";

/**
 * Jobs and pods as the API server keeps them: names are unique, uids are made by it, preconditions are checked, a suspended or deleted Job takes
 * its pods along. What the Job controller and the kubelet do beside that is the test's to say.
 */
export class FakeCluster implements AsyncDisposable {
  readonly jobs: JobsApi;
  readonly namespaces: NamespacesApi;
  readonly server: FakeApiServer;
  /** By `<namespace>/<name>`. */
  readonly objects = new Map<string, V1Job>();
  readonly pods: V1Pod[] = [];
  /** What the kubelet has of a pod's log, by pod name. */
  readonly logs = new Map<string, string>();
  /** Nothing in them may be read or written. */
  readonly forbidden = new Set<string>();
  /** Namespaces that are being deleted: what is in them goes one after the other. */
  readonly leaving = new Set<string>();
  /** Pods that are to go stay until `podsGo`, as on a node whose kubelet takes its time. */
  podsLinger = false;
  /** What every POST is answered with, whatever its namespace. */
  refusal: Refusal | undefined;
  /** What POSTs of one job are answered with, by hash, as an admission policy does that has something against it. */
  readonly refusedJobs = new Map<string, Refusal>();
  readonly #refusals = new Map<string, Refusal[]>();
  readonly #removed = new Set<string>();
  readonly #configWatches = new Set<ServerResponse>();
  #config: object | undefined;
  #version = 1;

  private constructor(server: FakeApiServer) {
    this.server = server;
    this.jobs = new JobsApi({ client: server.client });
    this.namespaces = new NamespacesApi({ client: server.client });
  }

  static async start(): Promise<FakeCluster> {
    const cluster: FakeCluster = new FakeCluster(await FakeApiServer.start((asked) => cluster.#answer(asked)));
    return cluster;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }

  /** The text of the ConfigMap; whoever watches it hears of it. */
  configure(config: unknown): void {
    this.#version += 1;
    const metadata = { uid: "config", name: "queues", resourceVersion: String(this.#version) };
    this.#config = { metadata, data: { "config.json": typeof config === "string" ? config : JSON.stringify(config) } };
    for (const watch of this.#configWatches) watch.write(`${JSON.stringify({ type: "MODIFIED", object: this.#config })}\n`);
  }

  /** POSTs of Jobs to the namespace are answered with these in turn, and with the last one for ever; with none they are accepted again. */
  refuse(namespace: string, ...refusals: readonly Refusal[]): void {
    this.#refusals.set(namespace, [...refusals]);
  }

  /** The namespace and all that was in it, the rights of the engine included. */
  removeNamespace(namespace: string): void {
    this.#removed.add(namespace);
    for (const key of this.objects.keys()) if (key.startsWith(`${namespace}/`)) this.objects.delete(key);
    this.#dropPods(({ metadata }) => metadata?.namespace === namespace);
  }

  calls(method: string, namespace?: string): number {
    const isThere = ({ path }: Asked): boolean => namespace === undefined || OBJECTS.exec(path)?.[1] === namespace;
    return this.server.asked.filter((asked) => asked.method === method && isThere(asked)).length;
  }

  /** The one Job that carries this hash. */
  jobOf(hash: string): V1Job {
    const found = [...this.objects.values()].filter((job) => job.metadata?.labels?.[LABEL.job] === hash);
    if (found[0] === undefined || found.length > 1) throw new Error(`${found.length} Jobs carry the hash ${hash}`);
    return found[0];
  }

  view(job: V1Job): JobView {
    return jobView(structuredClone(job));
  }

  /** Puts a Job there as if it had been created, without a call. */
  place(namespace: string, job: V1Job): V1Job {
    const stored = structuredClone(job);
    stored.metadata = { ...stored.metadata, namespace, uid: randomUUID() };
    Object.assign(stored.metadata, { creationTimestamp: new Date().toISOString() });
    this.objects.set(`${namespace}/${stored.metadata.name}`, stored);
    return stored;
  }

  /** A pod of the Job, as its controller makes one and a kubelet reports on it. */
  addPod(job: V1Job, status: Partial<V1Pod["status"]> = {}): V1Pod {
    const { name, namespace, uid, labels } = job.metadata ?? {};
    const pod: V1Pod = {
      metadata: {
        name: `${name}-${randomUUID().slice(0, 5)}`,
        namespace: namespace ?? "",
        uid: randomUUID(),
        labels: { ...labels, [OWNER_LABEL]: uid ?? "" },
        ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: name ?? "", uid: uid ?? "" }],
      },
      spec: { containers: [], nodeName: "node0" },
      status,
    };
    Object.assign(pod.metadata ?? {}, { creationTimestamp: new Date().toISOString() });
    this.pods.push(pod);
    return pod;
  }

  /** Ends a Job as the Job controller does, with the pod that the kubelet left. */
  end(job: V1Job, outcome: "Complete" | "Failed", status: Partial<V1Pod["status"]> = {}): V1Pod {
    const at = "2026-01-01T00:01:00Z";
    const reason = outcome === "Failed" ? "BackoffLimitExceeded" : "";
    const condition = { type: outcome, status: "True", reason, lastTransitionTime: at };
    Object.assign(job, { status: { conditions: [condition], ...(outcome === "Complete" ? { completionTime: at } : {}) } });
    return this.addPod(job, { phase: outcome === "Complete" ? "Succeeded" : "Failed", ...status });
  }

  /** Pods that were to go are gone. */
  podsGo(): void {
    this.#dropPods(({ metadata }) => metadata?.deletionTimestamp !== undefined);
  }

  #answer(asked: Asked): undefined {
    const { path, method, query, response } = asked;
    if (CONFIG_MAPS.test(path)) return this.#configMaps(asked);
    const [, only] = NAMESPACE.exec(path) ?? [];
    if (only !== undefined) return this.#namespace(response, only);
    const [, namespace = "", kind, name, log] = OBJECTS.exec(path) ?? [];
    if (kind === undefined) return refuse(response, 404, "NotFound", `no such path: ${path}`);
    if (this.forbidden.has(namespace) || this.#removed.has(namespace)) {
      return refuse(response, 403, "Forbidden", `${kind} is forbidden: cannot be used in the namespace "${namespace}"`);
    }
    if (log !== undefined) return this.#log(response, name ?? "");
    if (name !== undefined) return kind === "jobs" ? this.#job(asked, `${namespace}/${name}`) : this.#deletePod(asked, name);
    if (method === "POST") return this.#create(asked, namespace);
    const items = kind === "jobs" ? [...this.objects.values()] : this.pods;
    const [label, value] = query.get("labelSelector")?.split("=") ?? [];
    const owned = ({ metadata }: V1Job | V1Pod): boolean => label !== OWNER_LABEL || metadata?.labels?.[OWNER_LABEL] === value;
    return listOrHold(
      asked,
      items.filter((item) => item.metadata?.namespace === namespace && owned(item)),
    );
  }

  #namespace(response: ServerResponse, name: string): undefined {
    if (this.#removed.has(name)) return refuse(response, 404, "NotFound", `namespaces "${name}" not found`);
    if (this.forbidden.has(name)) return refuse(response, 403, "Forbidden", `namespaces "${name}" is forbidden`);
    const deletionTimestamp = this.leaving.has(name) ? { deletionTimestamp: new Date().toISOString() } : {};
    return json(response, 200, { metadata: { name, ...deletionTimestamp } });
  }

  #configMaps({ query, response }: Asked): undefined {
    if (query.get("watch") === null) {
      const items = this.#config === undefined ? [] : [this.#config];
      return json(response, 200, { metadata: { resourceVersion: String(this.#version) }, items });
    }
    this.#configWatches.add(response);
    response.once("close", () => this.#configWatches.delete(response));
    response.writeHead(200).flushHeaders();
  }

  #log(response: ServerResponse, pod: string): undefined {
    const text = this.logs.get(pod);
    if (text === undefined) return refuse(response, 404, "NotFound", `pods "${pod}" not found`);
    response.writeHead(200).end(text);
  }

  #create({ body, response }: Asked, namespace: string): undefined {
    const script = this.#refusals.get(namespace) ?? [];
    const job = body as V1Job;
    const ofJob = this.refusedJobs.get(job.metadata?.labels?.[LABEL.job] ?? "");
    const refusal = this.refusal ?? ofJob ?? (script.length > 1 ? script.shift() : script[0]);
    if (refusal?.made === true) this.place(namespace, job);
    if (refusal?.status === 0) return void response.destroy();
    if (refusal !== undefined) {
      if (refusal.retryAfterSeconds !== undefined) response.setHeader("retry-after", String(refusal.retryAfterSeconds));
      return refuse(response, refusal.status, refusal.reason, refusal.message);
    }
    const key = `${namespace}/${job.metadata?.name}`;
    if (this.objects.has(key)) return refuse(response, 409, "AlreadyExists", `jobs.batch "${job.metadata?.name}" already exists`);
    return json(response, 201, this.place(namespace, job));
  }

  #job({ method, body, response }: Asked, key: string): undefined {
    const job = this.objects.get(key);
    if (job === undefined) return refuse(response, 404, "NotFound", `jobs.batch "${key}" not found`);
    const uid = job.metadata?.uid;
    const given = body as
      | { metadata?: { uid?: string; annotations?: object }; spec?: object; preconditions?: { uid?: string } }
      | undefined;
    switch (method) {
      case "GET":
        return json(response, 200, job);
      case "PATCH":
        if (given?.metadata?.uid !== undefined && given.metadata.uid !== uid) {
          const message = `Job.batch "${key}" is invalid: metadata.uid: Invalid value: field is immutable`;
          return refuse(response, 422, "Invalid", message);
        }
        Object.assign(job.metadata?.annotations ?? {}, given?.metadata?.annotations);
        Object.assign(job.spec ?? {}, given?.spec);
        if (job.spec?.suspend === true) this.#takeAway((pod) => ownerOf(pod) === uid && !podEnded(podView(pod)));
        return json(response, 200, job);
      case "DELETE":
        if (given?.preconditions?.uid !== undefined && given.preconditions.uid !== uid) {
          return refuse(response, 409, "Conflict", "Precondition failed: UID in precondition");
        }
        this.objects.delete(key);
        this.#takeAway((pod) => ownerOf(pod) === uid);
        return json(response, 200, { kind: "Status", status: "Success" });
      default:
        return refuse(response, 405, "MethodNotAllowed", method);
    }
  }

  #deletePod({ method, response }: Asked, name: string): undefined {
    if (method !== "DELETE") return refuse(response, 405, "MethodNotAllowed", method);
    this.#takeAway(({ metadata }) => metadata?.name === name);
    return json(response, 200, { kind: "Status", status: "Success" });
  }

  #takeAway(isMeant: (pod: V1Pod) => boolean): void {
    for (const { metadata } of this.pods.filter(isMeant)) {
      Object.assign(metadata ?? {}, { deletionTimestamp: new Date().toISOString(), deletionGracePeriodSeconds: 0 });
    }
    if (!this.podsLinger) this.podsGo();
  }

  #dropPods(isMeant: (pod: V1Pod) => boolean): void {
    const kept = this.pods.filter((pod) => !isMeant(pod));
    this.pods.splice(0, this.pods.length, ...kept);
  }
}

function ownerOf(pod: V1Pod): string | undefined {
  return pod.metadata?.ownerReferences?.[0]?.uid;
}

/** A watch is answered and then says nothing. */
function listOrHold({ query, response }: Asked, items: readonly object[]): undefined {
  if (query.get("watch") === null) return json(response, 200, { metadata: { resourceVersion: "1" }, items });
  response.writeHead(200).flushHeaders();
}
