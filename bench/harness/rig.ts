import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { connect } from "@nats-io/transport-node";
import type { Instance } from "../../libs/contract/names.ts";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import { type LiveConfig, parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { Provisioner } from "../../libs/streams/provision.ts";
import { QueueConsumers } from "../../libs/streams/queue-consumers.ts";
import { network } from "../../scripts/cluster/network.ts";
import { NODE_ARGUMENTS, SERVICE_ENVIRONMENT } from "../../scripts/install/product-image.ts";
import { SERVICE_MEMORY_BYTES, withMemoryLimit } from "./memory-limit.ts";
import { BenchProcess } from "./processes.ts";
import { RawPoster } from "./raw-poster.ts";
import type { Stage } from "./stage.ts";

export const QUEUE = "default";

/** By these events in their logs the services tell how far a Job is. */
export const SAID = {
  created: '"event":"job.created"',
  recorded: '"event":"job.recorded"',
  succeeded: '"event":"job.succeeded"',
};

const ACK_WAIT_MS = 120_000;
const HISTORY_MS = 30 * 86_400_000;
const STORE_BYTES = 8 * 2 ** 30;
/** Publishes whose acknowledgement is awaited at once. */
const PUBLISHES_IN_FLIGHT = 256;

export type RigService = "dispatcher" | "monitor";

export interface RigOptions {
  readonly stage: Stage;
  /** Names its namespaces; several rigs live side by side, each with a broker of its own. */
  readonly name: string;
  readonly services: readonly RigService[];
  /** Each takes four: NATS, the health servers of both services, and what NATS tells of itself. */
  readonly firstPort: number;
  readonly slots: number;
  /** What `hello` is, the template of every message. @default one small container */
  readonly hello?: Readonly<Record<string, unknown>>;
  /** More arguments of Node. */
  readonly nodeArguments?: readonly string[];
}

/** The message that is published again and again: a template, parameters and an id, as a producer writes them. */
export function messageBody(id: string): string {
  return JSON.stringify({ id, template: "hello", params: { name: "world" } });
}

/**
 * An installation of Millrace as plain processes: the bundle of the image with the chart's environment, connected straight to the API server, and a
 * NATS that syncs every write.
 *
 *   opened (provisioned, ready) → (publish | load)* → disposed: no processes, no namespaces' rest but Jobs
 */
export class Rig implements AsyncDisposable {
  readonly name: string;
  readonly instance: Instance;
  readonly namespace: string;
  readonly config: LiveConfig;
  /** Of its logs and stores. */
  readonly folder: string;
  readonly natsUrl: string;
  /** Where pods, too, ask NATS for its state. */
  readonly natsMonitor: string;
  readonly nats: BenchProcess;
  readonly connection: NatsConnection;
  readonly streams: JetStreamManager;
  readonly #services = new Map<RigService, BenchProcess>();
  readonly #begin: (service: RigService) => Promise<BenchProcess>;
  readonly #client: JetStreamClient;
  readonly #consumers: QueueConsumers;

  private constructor(fields: {
    name: string;
    instance: Instance;
    config: LiveConfig;
    folder: string;
    natsUrl: string;
    natsMonitor: string;
    nats: BenchProcess;
    begin: (service: RigService) => Promise<BenchProcess>;
    connection: NatsConnection;
    streams: JetStreamManager;
    consumers: QueueConsumers;
  }) {
    this.name = fields.name;
    this.instance = fields.instance;
    this.namespace = namespaceOf(fields.name);
    this.config = fields.config;
    this.folder = fields.folder;
    this.natsUrl = fields.natsUrl;
    this.natsMonitor = fields.natsMonitor;
    this.nats = fields.nats;
    this.#begin = fields.begin;
    this.connection = fields.connection;
    this.streams = fields.streams;
    this.#client = jetstream(fields.connection);
    this.#consumers = fields.consumers;
  }

  static async open(options: RigOptions): Promise<Rig> {
    const { stage, name, firstPort, slots } = options;
    const namespace = namespaceOf(name);
    const instance: Instance = `${namespace}.millrace`;
    const configText = JSON.stringify({ queues: { [QUEUE]: { slots } }, templates: { hello: options.hello ?? HELLO } });
    await stage.cluster.kubectl().apply([
      { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "millrace", namespace }, data: { "config.json": configText } },
    ]);
    await using raw = await RawPoster.open({ access: stage.access });
    // What a run that was cut off left behind.
    await raw.clear(namespace);
    const folder = join(stage.cluster.stateDir, "bench", name);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const nats = await startNats(stage, folder, firstPort);
    const natsUrl = `nats://127.0.0.1:${firstPort}`;
    const natsMonitor = `${network.controlPlaneAddress}:${firstPort + 3}`;
    const connection = await connect({ servers: natsUrl });
    const config = parseDispatchConfig(configText);
    const topology = { instance, historyMs: HISTORY_MS, ackWaitMs: ACK_WAIT_MS, replicas: 1, storeBytes: STORE_BYTES };
    const provisioner = new Provisioner({ connection, topology });
    await provisioner.streams();
    await provisioner.consumers(config);
    const env = (service: RigService, port: number): Record<string, string> => ({
      ...SERVICE_ENVIRONMENT,
      KUBECONFIG: stage.cluster.kubeconfig,
      MILLRACE_INSTANCE: instance,
      POD_NAME: `millrace-${service}-0`,
      POD_NAMESPACE: namespace,
      CONFIG_MAP: "millrace",
      LEASE_NAME: `millrace-${service}`,
      JOBS_NAMESPACE: namespace,
      JOB_NAMESPACES: namespace,
      HTTP_SERVER_PORT: String(port),
      NATS_URL: natsUrl,
      STORE_SIZE: String(STORE_BYTES),
    });
    const profiler = (service: RigService): string[] =>
      stage.profiles === undefined
        ? []
        : ["--cpu-prof", `--cpu-prof-dir=${join(stage.profiles, name)}`, `--cpu-prof-name=${service}.cpuprofile`];
    const begin = async (service: RigService): Promise<BenchProcess> => {
      const port = firstPort + 1 + options.services.indexOf(service);
      const node = [
        process.execPath,
        ...NODE_ARGUMENTS,
        ...profiler(service),
        ...(options.nodeArguments ?? []),
        join(stage.bundle, "main.js"),
        service,
      ];
      const command = withMemoryLimit(node, {
        cluster: stage.cluster.name,
        name: `bench-${name}-${service}`,
        bytes: SERVICE_MEMORY_BYTES,
      });
      const logFile = join(folder, `${service}.log`);
      const started = new BenchProcess({ name: service, command, env: env(service, port), logFile });
      await untilReady(started, port);
      return started;
    };
    const streams = await jetstreamManager(connection);
    const consumers = await QueueConsumers.open(connection);
    const rig = new Rig({ name, instance, config, folder, natsUrl, natsMonitor, nats, begin, connection, streams, consumers });
    for (const service of options.services) await rig.start(service);
    return rig;
  }

  get services(): ReadonlyMap<RigService, BenchProcess> {
    return this.#services;
  }

  /** Starts one of its services, also again after it ended. Resolves when it is ready. */
  async start(name: RigService): Promise<BenchProcess> {
    const started = await this.#begin(name);
    this.#services.set(name, started);
    return started;
  }

  service(name: RigService): BenchProcess {
    const found = this.services.get(name);
    if (found === undefined) throw new Error(`the rig ${this.name} has no ${name}`);
    return found;
  }

  /** Its own processes, by what they are. */
  pids(): Record<string, number> {
    return { nats: this.nats.pid, ...Object.fromEntries([...this.services].map(([name, { pid }]) => [name, pid])) };
  }

  /** Resolves when all are stored. */
  async publish(ids: readonly string[]): Promise<void> {
    const left = ids.values();
    const worker = async (): Promise<void> => {
      for (const id of left) await this.publishOne(id);
    };
    await Promise.all(Array.from({ length: Math.min(PUBLISHES_IN_FLIGHT, ids.length) }, worker));
  }

  async publishOne(id: string): Promise<void> {
    await this.#client.publish(`jobs.${QUEUE}.hello`, messageBody(id));
  }

  /** Stores them while the queue is paused; what is returned lets the dispatcher begin. */
  async load(ids: readonly string[]): Promise<() => Promise<void>> {
    await this.#consumers.pause(QUEUE, {});
    await this.publish(ids.slice(1));
    return async () => {
      // A pause that is cleared is over at once, and whoever waits is woken by a message; a queue that is resumed goes on a moment later.
      await this.streams.consumers.resume(STREAM.jobs, consumerName(QUEUE));
      await this.publish(ids.slice(0, 1));
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.services.values()].map((service) => service.stop()));
    await this.connection.close();
    await this.nats.stop();
  }
}

const HELLO = {
  image: "busybox:latest",
  command: ["echo", "hello $(params.name)"],
  resources: { limits: { memory: "64Mi" }, requests: { cpu: "10m" } },
  params: { type: "object", properties: { name: { type: "string" } }, additionalProperties: false },
} as const;

function namespaceOf(name: string): string {
  return `bench-${name}`;
}

async function startNats(stage: Stage, folder: string, port: number): Promise<BenchProcess> {
  const configFile = join(folder, "nats.conf");
  writeFileSync(
    configFile,
    [
      `listen: "127.0.0.1:${port}"`,
      // Pods ask there, too.
      `http: "0.0.0.0:${port + 3}"`,
      "max_payload: 2MiB",
      // As the chart has it: what is acknowledged is on the disk.
      `jetstream { store_dir: "${join(folder, "store")}", sync_interval: always, max_file_store: ${STORE_BYTES} }`,
    ].join("\n"),
  );
  const nats = new BenchProcess({
    name: "nats",
    command: [stage.natsServer, "--config", configFile],
    logFile: join(folder, "nats.log"),
  });
  await nats.lines("Server is ready", 1, 20_000);
  return nats;
}

async function untilReady(service: BenchProcess, port: number): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  for (;;) {
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (ready) return;
    if (performance.now() > deadlineMs) throw new Error(`${service.name} does not become ready; its log: ${service.logFile}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
