import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import type { JobView } from "../../libs/contract/observation.ts";
import { JobsApi } from "../../libs/kube/jobs-api.ts";
import { type Asked, FakeApiServer, json, refuse } from "../../libs/kube/testing/fake-api-server.ts";
import { jobView } from "../../libs/kube/views.ts";

export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
}

const JOBS = /^\/apis\/batch\/v1\/namespaces\/([^/]+)\/jobs(?:\/([^/]+))?$/;
const CONFIG_MAPS = /^\/api\/v1\/namespaces\/[^/]+\/configmaps$/;
const PODS = /^\/api\/v1\/namespaces\/([^/]+)\/pods$/;

/** Jobs and pods as the API server keeps them: names are unique, uids are made by it, preconditions are checked. */
export class FakeCluster implements AsyncDisposable {
  readonly jobs: JobsApi;
  readonly server: FakeApiServer;
  readonly objects = new Map<string, V1Job>();
  readonly pods: V1Pod[] = [];
  readonly #configWatches = new Set<ServerResponse>();
  #config: object | undefined;
  #version = 1;
  /** Set by a test: what every POST is answered with. */
  refusal: Refusal | undefined;

  private constructor(server: FakeApiServer) {
    this.server = server;
    this.jobs = new JobsApi({ client: server.client });
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

  calls(method: string): number {
    return this.server.asked.filter((asked) => asked.method === method).length;
  }

  /** The one Job that carries this id. */
  jobOf(hash: string): V1Job {
    const found = [...this.objects.values()].filter((job) => job.metadata?.labels?.["millrace.dev/job"] === hash);
    if (found[0] === undefined || found.length > 1) throw new Error(`${found.length} Jobs carry the hash ${hash}`);
    return found[0];
  }

  /** Ends a Job as the Job controller does, with the pod that the kubelet left. */
  end(job: V1Job, outcome: "Complete" | "Failed", pod: Partial<V1Pod["status"]> = {}): void {
    const at = "2026-01-01T00:01:00Z";
    const condition = {
      type: outcome,
      status: "True",
      reason: outcome === "Failed" ? "BackoffLimitExceeded" : "",
      lastTransitionTime: at,
    };
    Object.assign(job, { status: { conditions: [condition], ...(outcome === "Complete" ? { completionTime: at } : {}) } });
    this.pods.push({
      metadata: {
        name: "pod",
        uid: randomUUID(),
        ownerReferences: [{ apiVersion: "batch/v1", kind: "Job", name: "", uid: job.metadata?.uid ?? "" }],
      },
      spec: { containers: [], nodeName: "node0" },
      status: pod,
    });
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

  #answer(asked: Asked): undefined {
    if (CONFIG_MAPS.test(asked.path)) return this.#configMaps(asked);
    const [, podNamespace] = PODS.exec(asked.path) ?? [];
    if (podNamespace !== undefined) {
      const uid = asked.query.get("labelSelector")?.split("=")[1];
      const owned = asked.query.get("labelSelector")?.startsWith("batch.kubernetes.io/controller-uid=") === true;
      return listOrHold(
        asked,
        owned ? this.pods.filter(({ metadata }) => metadata?.ownerReferences?.some((owner) => owner.uid === uid)) : this.pods,
      );
    }
    const [, namespace = "", name] = JOBS.exec(asked.path) ?? [];
    if (namespace === "") return refuse(asked.response, 404, "NotFound", `no such path: ${asked.path}`);
    if (name === undefined && asked.method === "GET") listOrHold(asked, [...this.objects.values()]);
    else if (name === undefined) this.#create(asked, namespace);
    else this.#one(asked, `${namespace}/${name}`);
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

  #create({ body, response }: Asked, namespace: string): undefined {
    if (this.refusal !== undefined) return refuse(response, this.refusal.status, this.refusal.reason, this.refusal.message);
    const job = body as V1Job;
    const key = `${namespace}/${job.metadata?.name}`;
    if (this.objects.has(key)) return refuse(response, 409, "AlreadyExists", `jobs.batch "${job.metadata?.name}" already exists`);
    return json(response, 201, this.place(namespace, job));
  }

  #one({ method, body, response }: Asked, key: string): undefined {
    const job = this.objects.get(key);
    if (job === undefined) return refuse(response, 404, "NotFound", `jobs.batch "${key}" not found`);
    const given = body as
      | { metadata?: { uid?: string; annotations?: object }; spec?: object; preconditions?: { uid?: string } }
      | undefined;
    switch (method) {
      case "GET":
        return json(response, 200, job);
      case "PATCH":
        if (given?.metadata?.uid !== undefined && given.metadata.uid !== job.metadata?.uid) {
          return refuse(
            response,
            422,
            "Invalid",
            `Job.batch "${key}" is invalid: metadata.uid: Invalid value: field is immutable`,
          );
        }
        Object.assign(job.metadata?.annotations ?? {}, given?.metadata?.annotations);
        Object.assign(job.spec ?? {}, given?.spec);
        return json(response, 200, job);
      case "DELETE":
        if (given?.preconditions?.uid !== undefined && given.preconditions.uid !== job.metadata?.uid) {
          return refuse(response, 409, "Conflict", "Precondition failed: UID in precondition");
        }
        this.objects.delete(key);
        return json(response, 200, { kind: "Status", status: "Success" });
      default:
        return refuse(response, 405, "MethodNotAllowed", method);
    }
  }
}

/** A watch is answered and then says nothing. */
function listOrHold({ query, response }: Asked, items: readonly object[]): undefined {
  if (query.get("watch") === null) return json(response, 200, { metadata: { resourceVersion: "1" }, items });
  response.writeHead(200).flushHeaders();
}
