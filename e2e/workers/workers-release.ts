import { join } from "node:path";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { workAtFilter } from "../../libs/contract/work-subjects.ts";
import { nextMessage } from "../../libs/streams/next-message.ts";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { importImageWorkers } from "../../scripts/install/image-pipeline.ts";
import { Keda } from "../../scripts/install/keda.ts";
import { LocalTarget } from "../../scripts/install/local-target.ts";
import { ObjectStore } from "../../scripts/install/object-store.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { buildJobImage } from "../../scripts/jobs/job-image.ts";
import { scheduledAt } from "../../services/scaler/wake-ups.ts";
import { type DeadLetter, Installation } from "../harness/installation.ts";
import { type ReleaseNames, SMALL, TestRelease } from "../harness/release.ts";
import { Witness, witnessUrl } from "../harness/witness.ts";
import { WorkerPods } from "../harness/worker-pods.ts";
import { Part } from "./part.ts";
import { ScaledObject } from "./scaled-object.ts";

/** The release of this project's tests. */
export const WORKERS: ReleaseNames = { release: "workers", namespace: "workers", jobsNamespace: "workers" };
const SECRET = "image-jobs";
/** On node0 whatever becomes of another. */
const STAYS = { "kubernetes.io/hostname": "node0" } as const;

/** Of each of the image workers. */
export const MOST_IMAGE_PODS = 3;
export const IMAGES_PER_POD = 2;
/** How long a worker stays without work before its last pod goes. */
export const COOLDOWN_MS = 5_000;
/** Much longer than it takes until a worker without work has no pods. */
export const SLEEPER_PAUSE_MS = 60_000;
const PAUSE_MS = 600_000;
const seconds = (ms: number): string => `${ms / 1_000}s`;

/** Short pauses, so that a message's whole life fits into a test. */
const pauses = { backoff: { initial: "1s", max: "2s" }, freeBackoff: { initial: "1s", max: "2s" } } as const;
const retry = { attempts: 3, ...pauses } as const;

const common = {
  min: 0,
  concurrency: 1,
  cooldown: seconds(COOLDOWN_MS),
  resources: { requests: { cpu: "5m", memory: "64Mi" }, limits: { memory: "192Mi" } },
} as const;

/** Each is the same program, which does what its messages say; their subjects are their names. */
const actors = {
  /** Has time. */
  steady: { max: 3, timeout: "60s", retry },
  /** Has little, and yet enough to tell the witness that it begins while the machine does much else. */
  hasty: { max: 2, timeout: "5s", retry: { ...retry, attempts: 2 } },
  /** Sleeps longer than its Deployment stays up without work. */
  sleeper: {
    max: 1,
    timeout: "30s",
    retry: { ...retry, backoff: { initial: seconds(SLEEPER_PAUSE_MS), max: seconds(SLEEPER_PAUSE_MS) } },
  },
  /** Two messages at once in each of two pods; there are two pods as soon as there are two messages. */
  paired: { max: 2, concurrency: 2, lagThreshold: 1, timeout: "90s", retry },
  /** Its busy pods are marked. */
  marked: { max: 3, timeout: "120s", retry, deletionCost: true },
} as const;
export type Actor = keyof typeof actors;

interface WorkersReleaseOptions {
  readonly names: ReleaseNames;
  /** Values of each of its workers. */
  readonly workers?: object;
  readonly progress?: (line: string) => void;
}

/** A release with workers, an S3 and a witness beside it, for all tests of this project. */
export class WorkersRelease implements AsyncDisposable {
  static readonly cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
  readonly millrace: Installation;
  readonly witness: Witness;
  readonly pods: WorkerPods;
  readonly store: ObjectStore;

  private constructor(parts: { millrace: Installation; witness: Witness; pods: WorkerPods; store: ObjectStore }) {
    this.millrace = parts.millrace;
    this.witness = parts.witness;
    this.pods = parts.pods;
    this.store = parts.store;
  }

  /** It stays: nobody else minds it. */
  static async installKeda(progress: (line: string) => void = () => {}): Promise<void> {
    await new Keda({ target: new LocalTarget({ name: WorkersRelease.cluster.name }) }).ensure(progress);
  }

  /**
   * KEDA, the release and what its workers need. All but the workers stay on node0: the scaler because KEDA is there, as the chart has it.
   * @returns what removes the release again
   */
  static async install(options: WorkersReleaseOptions): Promise<() => Promise<void>> {
    const { names, workers: more = {}, progress = () => {} } = options;
    const { cluster } = WorkersRelease;
    const target = new LocalTarget({ name: cluster.name });
    const release = new TestRelease({ cluster, names });
    await WorkersRelease.installKeda(progress);
    await release.createNamespaces();
    const { namespace } = names;
    await storeOf(target, namespace).ensure(progress);
    await Witness.install({ cluster, namespace, kubectl: (args, input) => release.kubectl(args, input) });
    const actor = await buildJobImage("actor", undefined, join(import.meta.dirname, "actor"));
    await target.importImage(actor, progress);
    const { workers } = await importImageWorkers(target, progress);
    const images = Object.entries(workers).map(([name, values]) => {
      // As many attempts as users have: a downloader gives up on a picture that is held after half a minute, and asks for it again.
      const often = { ...(values["retry"] as object), ...pauses };
      return [name, { ...values, ...common, ...more, max: MOST_IMAGE_PODS, concurrency: IMAGES_PER_POD, retry: often }];
    });
    const acting = Object.entries(actors).map(([name, values]) => {
      return [
        name,
        { ...common, ...more, ...values, image: actor.reference, subject: name, env: { WITNESS: witnessUrl(namespace) } },
      ];
    });
    await release.upgrade({
      ...SMALL,
      ...Object.fromEntries(["nats", "monitor"].map((service) => [`${service}.nodeSelector`, STAYS])),
      workers: Object.fromEntries([...images, ...acting]),
    });
    return () => release.discard();
  }

  static async open(names = WORKERS): Promise<WorkersRelease> {
    const { cluster } = WorkersRelease;
    const millrace = await Installation.open(names);
    const { namespace } = names;
    const witness = await Witness.open({ cluster, namespace, kubectl: (args, input) => millrace.kubectl(args, input) });
    const pods = await WorkerPods.open({ kube: millrace.kube, cluster, namespace });
    return new WorkersRelease({ millrace, witness, pods, store: storeOf(new LocalTarget({ name: cluster.name }), namespace) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pods[Symbol.asyncDispose]();
    await this.witness[Symbol.asyncDispose]();
    await this.millrace[Symbol.asyncDispose]();
  }

  /** A message for an actor: what it does in its first attempt, in the next one, and so on. Its key is its id. */
  async act(actor: Actor, key: string, ...attempts: readonly (readonly string[])[]): Promise<void> {
    await this.publish(actor, key, JSON.stringify({ key, attempts }));
  }

  async publish(subject: string, id: string, body: string | Uint8Array): Promise<void> {
    const head = headers();
    head.set("Nats-Msg-Id", id);
    await jetstream(this.millrace.connection).publish(subject, body, { headers: head });
  }

  /** What workers rely on, KEDA with all of its workers. */
  part(name: "keda" | "nats" | "scaler"): Part {
    const { millrace } = this;
    const kubectl: Installation["kubectl"] = (args, input) => millrace.kubectl(args, input);
    if (name === "keda")
      return new Part({ kubectl, namespace: name, workload: "deployment/keda-operator", selector: "app=keda-operator" });
    const { release, namespace } = millrace.names;
    const workload = `${name === "nats" ? "statefulset" : "deployment"}/${release}-millrace-${name}`;
    const selector = `app.kubernetes.io/instance=${release},app.kubernetes.io/component=${name}`;
    return new Part({ kubectl, namespace, workload, selector });
  }

  scaledObject(worker: string): ScaledObject {
    const { kube, names } = this.millrace;
    return new ScaledObject({ kube, namespace: names.namespace, name: `${names.release}-millrace-worker-${worker}` });
  }

  /** What the workers' streams hold for these workers, together. */
  async heldBy(
    ...workers: readonly string[]
  ): Promise<{ readonly waiting: number; readonly running: number; readonly asleep: number }> {
    const manager = await jetstreamManager(this.millrace.connection);
    let [waiting, running, asleep] = [0, 0, 0];
    for (const worker of workers) {
      for (const stream of [STREAM.work, STREAM.workRetry]) {
        const info = await manager.consumers.info(stream, workConsumerName(worker));
        waiting += info.num_pending;
        running += info.num_ack_pending;
      }
      asleep += await this.asleep(worker);
    }
    return { waiting, running, asleep };
  }

  /** Nothing more is handed out to a worker, while all that waits for it counts. */
  async pause(worker: string): Promise<void> {
    const manager = await jetstreamManager(this.millrace.connection);
    await manager.consumers.pause(STREAM.work, workConsumerName(worker), new Date(Date.now() + PAUSE_MS));
  }

  async resume(worker: string): Promise<void> {
    const manager = await jetstreamManager(this.millrace.connection);
    await manager.consumers.resume(STREAM.work, workConsumerName(worker));
  }

  async asleep(worker: string): Promise<number> {
    const manager = await jetstreamManager(this.millrace.connection);
    const { state } = await manager.streams.info(STREAM.workRetry, { subjects_filter: workAtFilter(worker) });
    return Object.keys(state.subjects ?? {}).length;
  }

  /** When a retry that sleeps is due, by NATS' clock; undefined: none sleeps. */
  async dueAtMs(worker: string): Promise<number | undefined> {
    const manager = await jetstreamManager(this.millrace.connection);
    const sleeping = await nextMessage(manager, STREAM.workRetry, workAtFilter(worker), 1);
    return sleeping === null ? undefined : scheduledAt(sleeping.header);
  }

  async deadLetters(worker: string): Promise<DeadLetter[]> {
    return (await this.millrace.deadLetters()).filter(({ subject }) => subject.startsWith(`dlq.work.${worker}.`));
  }
}

function storeOf(target: LocalTarget, namespace: string): ObjectStore {
  return new ObjectStore({ target, namespace, secret: SECRET, nodeSelector: STAYS });
}
