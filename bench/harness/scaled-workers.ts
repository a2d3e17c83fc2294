import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { KubeClient } from "../../libs/kube/client.ts";
import { Watch } from "../../libs/kube/watch.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { connectNats, natsEnv } from "../../libs/streams/connection.ts";
import { binaryVersion } from "../../scripts/cluster/binaries.ts";
import { buildNatsImage } from "../../scripts/cluster/images.ts";
import { Keda } from "../../scripts/install/keda.ts";
import { buildProductImage } from "../../scripts/install/product-image.ts";
import { HelmRelease } from "../../scripts/install/release.ts";
import { importedImageValues } from "../../scripts/install/target.ts";
import { buildJobImage } from "../../scripts/jobs/job-image.ts";
import type { Stage } from "./stage.ts";

const NAMESPACE = "bench-scale";
const RELEASE = "millrace";
const STARTED = "bench.started";
const WORKER_LABEL = "millrace.dev/worker";
const WAKE_MS = 120_000;
const REST_MS = 300_000;
/** An image is unpacked, programs are compiled, KEDA's stream is opened: not what is measured. */
const SETTLE_MS = 10_000;

export interface ScaledWorker {
  readonly name: string;
  readonly trigger: "push" | "poll";
  /** How often KEDA asks by itself. */
  readonly pollSeconds: number;
}

/** Milliseconds from the publish. */
export interface Scaled {
  readonly replicasMs: number;
  readonly handlerMs: number;
}

const started = z.object({ id: z.string(), atMs: z.number() });

interface DeploymentView {
  readonly uid: string;
  readonly worker: string;
  readonly replicas: number;
}

interface PodView {
  readonly uid: string;
  readonly worker: string;
}

/** Workers of the chart with KEDA, without a pod until a message comes. */
export class ScaledWorkers implements AsyncDisposable {
  readonly #client: KubeClient;
  readonly #connection: NatsConnection;
  readonly #deployments: Watch<DeploymentView>;
  readonly #pods: Watch<PodView>;
  readonly #changes = new EventTarget();
  readonly #startedAtMs = new Map<string, number>();
  #published = 0;

  private constructor(stage: Stage, connection: NatsConnection) {
    this.#connection = connection;
    this.#client = new KubeClient({ access: stage.access });
    const changed = (): void => void this.#changes.dispatchEvent(new Event("change"));
    const common = { client: this.#client, selector: { labelSelector: WORKER_LABEL }, onChange: changed, log: silentLog };
    this.#deployments = new Watch({
      ...common,
      path: `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`,
      project: (object) => {
        const { metadata, spec } = object as V1Deployment;
        return { uid: metadata?.uid ?? "", worker: metadata?.labels?.[WORKER_LABEL] ?? "", replicas: spec?.replicas ?? 1 };
      },
    });
    this.#pods = new Watch({
      ...common,
      path: `/api/v1/namespaces/${NAMESPACE}/pods`,
      project: (object) => {
        const { metadata } = object as V1Pod;
        return { uid: metadata?.uid ?? "", worker: metadata?.labels?.[WORKER_LABEL] ?? "" };
      },
    });
    connection.subscribe(STARTED, {
      callback: (_error, message) => {
        const { id, atMs } = started.parse(message.json());
        this.#startedAtMs.set(id, atMs);
        changed();
      },
    });
  }

  static async install({
    stage,
    workers,
  }: {
    readonly stage: Stage;
    readonly workers: readonly ScaledWorker[];
  }): Promise<ScaledWorkers> {
    const { cluster, progress, natsServer } = stage;
    const target = {
      title: cluster.name,
      binDir: cluster.local.binDir,
      context: cluster.name,
      kubeconfig: cluster.kubeconfig,
      takesImports: true,
      importImage: ({ archivePath, reference }: { readonly archivePath: string; readonly reference: string }) =>
        cluster.local.importImage(archivePath, reference),
    };
    await new Keda({ target }).ensure(progress);
    const product = await buildProductImage();
    const worker = await buildJobImage("scale-worker", undefined, join(import.meta.dirname, "../scale-worker"));
    for (const image of [product, worker, await buildNatsImage(natsServer)]) await target.importImage(image);
    const kubectl = cluster.kubectl();
    // What a run that kept its cluster left behind.
    await kubectl.run(["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s"]);
    await kubectl.apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } }]);
    const release = new HelmRelease({ target, profile: { release: RELEASE, namespace: NAMESPACE } });
    await release.ensure({
      ...importedImageValues(product, binaryVersion("nats-server").slice(1)),
      jobs: { namespace: NAMESPACE },
      workers: Object.fromEntries(workers.map((each) => [each.name, workerValues(each, worker.reference)])),
    });
    for (const { name, pollSeconds } of workers) {
      const patch = JSON.stringify({ spec: { pollingInterval: pollSeconds } });
      const object = ["scaledobject", `${RELEASE}-worker-${name}`];
      await kubectl.run(["patch", ...object, "-n", NAMESPACE, "--type=merge", "-p", patch]);
    }
    await kubectl.run(["wait", "--for=condition=Ready", "--timeout=120s", "scaledobject", "--all", "-n", NAMESPACE]);
    const address = await kubectl.run(["get", "service", `${RELEASE}-nats`, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"]);
    const settings = z.object(natsEnv).parse({ NATS_URL: `nats://${address}:4222` });
    const connection = await connectNats({ settings, name: "bench", onUnreachable: progress });
    const manager = await jetstreamManager(connection);
    // Only so that somebody takes what handlers publish.
    await manager.streams.add({ name: "BENCH", subjects: [STARTED], storage: StorageType.Memory, max_bytes: 2 ** 20 });
    const scaled = new ScaledWorkers(stage, connection);
    await Promise.all([scaled.#deployments.start(), scaled.#pods.start()]);
    await sleep(SETTLE_MS);
    return scaled;
  }

  /** Resolves when it has no pods, not even some that are about to go. */
  async atRest({ name }: ScaledWorker): Promise<void> {
    const hasPods = (): boolean => [...this.#pods.values()].some(({ worker }) => worker === name);
    await this.#until(() => this.#replicas(name) === 0 && !hasPods(), REST_MS, `${name} to have no pods`);
  }

  /** One message to a worker that is at rest. */
  async wake({ name }: ScaledWorker): Promise<Scaled> {
    const id = `${name}-${this.#published}`;
    this.#published += 1;
    const head = headers();
    head.set("Nats-Msg-Id", id);
    const publishedAtMs = Date.now();
    await jetstream(this.#connection).publish(subjectOf(name), "{}", { headers: head });
    await this.#until(() => this.#replicas(name) > 0, WAKE_MS, `${name} to be scaled`);
    const scaledAtMs = Date.now();
    await this.#until(() => this.#startedAtMs.has(id), WAKE_MS, `the handler of ${name}`);
    return { replicasMs: scaledAtMs - publishedAtMs, handlerMs: (this.#startedAtMs.get(id) ?? Number.NaN) - publishedAtMs };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#deployments.stop(), this.#pods.stop()]);
    await this.#client.close();
    await this.#connection.close();
  }

  #replicas(name: string): number {
    return [...this.#deployments.values()].find(({ worker }) => worker === name)?.replicas ?? Number.NaN;
  }

  async #until(holds: () => boolean, limitMs: number, what: string): Promise<void> {
    const signal = AbortSignal.timeout(limitMs);
    while (!holds()) {
      await once(this.#changes, "change", { signal }).catch((error: unknown) => {
        throw new Error(`waited ${limitMs / 1000} s for ${what}`, { cause: error });
      });
    }
  }
}

const subjectOf = (name: string): string => `bench-${name}`;

function workerValues({ name, trigger }: ScaledWorker, image: string): Readonly<Record<string, unknown>> {
  return {
    image,
    subject: subjectOf(name),
    trigger,
    min: 0,
    max: 1,
    // Soon at rest again.
    cooldown: "1s",
    timeout: "30s",
    resources: { requests: { cpu: "20m", memory: "64Mi" }, limits: { memory: "256Mi" } },
  };
}
