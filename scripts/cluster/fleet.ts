import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { BaseObjects } from "./base-objects.ts";
import { kubernetesPrograms } from "./binaries.ts";
import { ClusterError } from "./cluster-error.ts";
import { ClusterNode } from "./cluster-node.ts";
import type { ComponentHealth } from "./component-health.ts";
import { type Programs, startOrder } from "./control-plane.ts";
import { Gateway } from "./gateway.ts";
import { renderKubeconfig } from "./kubeconfig.ts";
import { Kubectl } from "./kubectl.ts";
import type { ClusterLayout } from "./layout.ts";
import { logTail } from "./log-tail.ts";
import { writeControlPlaneConfig } from "./node-config.ts";
import { isNodeCount, type NodeCount, type NodeLayout, type NodeName, namesOfNodes } from "./node-layout.ts";
import { createPki } from "./pki.ts";
import { poll } from "./polling.ts";

const NODE_DEADLINE_MS = 60_000;

const nodeSchema = z.object({
  status: z.object({
    conditions: z.array(z.object({ type: z.string(), status: z.string(), message: z.string().optional() })).optional(),
  }),
});

export interface FleetOptions {
  readonly layout: ClusterLayout;
  readonly programs: Programs & { readonly helm: string };
  readonly nodes: NodeCount;
}

/** How many nodes the cluster was last told to have. */
export function rememberedNodeCount(layout: ClusterLayout): NodeCount | undefined {
  if (!existsSync(layout.nodeCountFile)) return undefined;
  const count = Number(readFileSync(layout.nodeCountFile, "utf8"));
  return isNodeCount(count) ? count : undefined;
}

/**
 * All nodes of a cluster, and what they have in common: the authority, the gateway, the first objects.
 * `start` brings it from any state to running, touching only what is not; what it cannot repair that way is for `ClusterRemains`.
 */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #layout: ClusterLayout;
  readonly #nodes: readonly ClusterNode[];
  readonly #gateway: Gateway;
  readonly #kubectl: Kubectl;
  readonly #objects: BaseObjects;

  constructor(options: FleetOptions) {
    const { layout, programs } = options;
    this.#options = options;
    this.#layout = layout;
    this.#nodes = namesOfNodes(options.nodes).map((name) => new ClusterNode({ layout: layout.node(name), programs }));
    this.#gateway = new Gateway({ layout });
    this.#kubectl = new Kubectl({ program: join(programs.kubernetesDir, "kubectl"), kubeconfig: layout.kubeconfig });
    this.#objects = new BaseObjects({ layout, kubectl: this.#kubectl });
  }

  async start(): Promise<void> {
    const [first, second, third] = startOrder;
    mkdirSync(this.#layout.stateDir, { recursive: true, mode: 0o700 });
    writeFileSync(this.#layout.nodeCountFile, `${this.#options.nodes}\n`);
    this.#linkPrograms();
    await createPki(this.#layout);
    writeControlPlaneConfig(this.#layout);
    for (const node of this.#nodes) await node.prepare();
    await this.#onAll(async (node) => {
      await node.startGroup(first);
      await Promise.all([node.importBaseImages(), node.awaitGroup(first)]);
    });
    await this.#openGateway();
    await this.#onAll(async (node) => node.startGroup(second));
    await this.#objects.apply();
    await this.#onAll(async (node) => {
      await node.startGroup(third);
      await node.awaitGroup([...second, ...third]);
      await this.#awaitNode(node.layout);
    });
  }

  async health(): Promise<ComponentHealth[]> {
    const perNode = await Promise.all(this.#nodes.map(async (node) => node.health()));
    const list = perNode.flat();
    const apiAnswers = list.some(({ component, state }) => component === "apiserver" && state === "running");
    return [...list, ...(await this.#gatewayHealth(apiAnswers))];
  }

  async joinable(): Promise<boolean> {
    const answers = await Promise.all(this.#nodes.map(async (node) => node.joinable()));
    return answers.every((joinable) => joinable);
  }

  async recycleVolumes(): Promise<void> {
    await this.#objects.recycleVolumes();
  }

  /** The object only: a node that was taken away would stay NotReady for ever, and its pods with it. */
  async forgetNode(name: NodeName): Promise<void> {
    await this.#kubectl.run(["delete", "node", name, "--ignore-not-found", "--wait=false"]);
  }

  /** Gateway and nodes are judged by one question, through the one about the others; with no API server behind it there is nothing to ask. */
  async #gatewayHealth(apiAnswers: boolean): Promise<ComponentHealth[]> {
    const { daemon } = this.#gateway;
    const detail = `127.0.0.1:${this.#gateway.port}`;
    const open: ComponentHealth = { component: daemon.name, state: "running", detail, logFile: daemon.logFile };
    const nodes = this.#nodes.map(({ layout }) => layout);
    const unreachable = nodes.map((node): ComponentHealth => nodeHealth(node, "stopped", "unreachable"));
    if (daemon.running() === undefined) return [daemon.stoppedHealth(), ...unreachable];
    if (!apiAnswers) return [open, ...unreachable];
    try {
      const judged = nodes.map(async (node): Promise<ComponentHealth> => {
        const notReady = await this.#nodeNotReady(node.name);
        return nodeHealth(node, notReady === undefined ? "running" : "sick", notReady ?? "Ready");
      });
      return [open, ...(await Promise.all(judged))];
    } catch (error) {
      return [{ ...open, state: "sick", detail: error instanceof Error ? error.message : String(error) }, ...unreachable];
    }
  }

  /** Called when the API server answers inside: if it does not through a gateway that runs, the gateway is what is broken. */
  async #openGateway(): Promise<void> {
    await this.#gateway.start();
    this.#writeKubeconfig();
    const answers = await this.#kubectl.raw("/version").then(
      () => true,
      () => false,
    );
    if (answers) return;
    await this.#gateway.daemon.stop();
    await this.#gateway.start();
    this.#writeKubeconfig();
  }

  /** Ready and with the service account that every pod needs: from here on a plain `kubectl run` works. */
  async #awaitNode(node: NodeLayout): Promise<void> {
    let last = "not registered";
    await poll(
      async () => {
        try {
          last = (await this.#nodeNotReady(node.name)) ?? "Ready, but the namespace default has no service account yet";
          if (last.startsWith("Ready"))
            return await this.#kubectl.run(["get", "serviceaccount", "default", "--namespace=default"]);
        } catch (error) {
          last = error instanceof Error ? error.message : String(error);
        }
        return undefined;
      },
      { what: `node ${node.name}`, deadlineMs: NODE_DEADLINE_MS },
    ).catch((cause: unknown) => {
      const log = node.logFile("kubelet");
      throw new ClusterError("COMPONENT_FAILED", `${node.name} is not Ready: ${last}\n${logTail(log)}\nWhole log: ${log}`, {
        cause,
      });
    });
  }

  /** undefined when Ready, else why not. Listed, not asked for by name: a node that never registered is an answer, not an error. */
  async #nodeNotReady(name: NodeName): Promise<string | undefined> {
    const selector = encodeURIComponent(`metadata.name=${name}`);
    const list = z.object({ items: z.array(nodeSchema) });
    const [node] = list.parse(await this.#kubectl.raw(`/api/v1/nodes?fieldSelector=${selector}`)).items;
    if (node === undefined) return "not registered";
    const ready = node.status.conditions?.find((condition) => condition.type === "Ready");
    return ready?.status === "True" ? undefined : (ready?.message ?? "no status yet");
  }

  async #onAll(step: (node: ClusterNode) => Promise<void>): Promise<void> {
    await Promise.all(this.#nodes.map(step));
  }

  /** One folder for a PATH, whatever versions the cache holds. */
  #linkPrograms(): void {
    const { kubernetesDir, coredns, helm } = this.#options.programs;
    rmSync(this.#layout.binDir, { recursive: true, force: true });
    mkdirSync(this.#layout.binDir);
    for (const target of [...kubernetesPrograms.map((name) => join(kubernetesDir, name)), coredns, helm]) {
      symlinkSync(target, join(this.#layout.binDir, basename(target)));
    }
  }

  #writeKubeconfig(): void {
    const pem = (file: string): Buffer => readFileSync(this.#layout.pki(file));
    const access = { ca: pem("ca.crt"), cert: pem("admin.crt"), key: pem("admin.key") };
    const server = `https://127.0.0.1:${this.#gateway.port}`;
    writeFileSync(this.#layout.kubeconfig, renderKubeconfig({ name: this.#layout.name, server, ...access }), { mode: 0o600 });
  }
}

function nodeHealth(node: NodeLayout, state: ComponentHealth["state"], detail: string): ComponentHealth {
  return { component: node.name, state, detail, logFile: node.logFile("kubelet") };
}
