import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { BaseObjects } from "./base-objects.ts";
import { kubernetesPrograms } from "./binaries.ts";
import { ClusterError } from "./cluster-error.ts";
import { Component, type ComponentHealth, type Probe } from "./component.ts";
import { type ComponentName, componentSpecs, type Programs, startOrder } from "./control-plane.ts";
import type { Daemon } from "./daemon.ts";
import { Gateway } from "./gateway.ts";
import { ImageStore } from "./image-store.ts";
import { buildBusyboxImage, buildPauseImage } from "./images.ts";
import { renderKubeconfig } from "./kubeconfig.ts";
import { Kubectl } from "./kubectl.ts";
import { type ClusterLayout, nodeName } from "./layout.ts";
import { logTail } from "./log-tail.ts";
import { NodeCgroup } from "./node-cgroup.ts";
import { writeNodeConfig } from "./node-config.ts";
import { NodeNetwork } from "./node-network.ts";
import { createPki } from "./pki.ts";
import { poll } from "./polling.ts";
import { askInside, type ProbeAnswers } from "./probe.ts";

const GROUP_DEADLINE_MS = 60_000;
const NODE_DEADLINE_MS = 60_000;
/** One question's share of the wait: in between, a process that has died ends the wait. */
const ASK_SLICE_MS = 1_000;

const nodeSchema = z.object({
  status: z.object({
    conditions: z.array(z.object({ type: z.string(), status: z.string(), message: z.string().optional() })).optional(),
  }),
});

export interface ClusterNodeOptions {
  readonly layout: ClusterLayout;
  readonly programs: Programs & { readonly helm: string };
}

/**
 * The machine that the cluster is: one node with the control plane beside it, in one network namespace.
 * `start` brings it from any state to running, touching only what is not; what it cannot repair that way is for `NodeRemains`.
 */
export class ClusterNode {
  readonly images: ImageStore;
  readonly #options: ClusterNodeOptions;
  readonly #layout: ClusterLayout;
  readonly #components: ReadonlyMap<ComponentName, Component>;
  readonly #gateway: Gateway;
  readonly #kubectl: Kubectl;
  readonly #objects: BaseObjects;

  constructor(options: ClusterNodeOptions) {
    this.#options = options;
    this.#layout = options.layout;
    const specs = componentSpecs(options.layout, options.programs);
    this.#components = new Map(
      startOrder.flat().map((name) => [name, new Component({ spec: specs[name], layout: options.layout })]),
    );
    this.#gateway = new Gateway({ layout: options.layout });
    this.#kubectl = new Kubectl({
      program: join(options.programs.kubernetesDir, "kubectl"),
      kubeconfig: options.layout.kubeconfig,
    });
    this.#objects = new BaseObjects({ layout: options.layout, kubectl: this.#kubectl });
    this.images = new ImageStore({ layout: options.layout });
  }

  async start(): Promise<void> {
    const [first, second, third] = startOrder;
    mkdirSync(this.#layout.stateDir, { recursive: true, mode: 0o700 });
    this.#linkPrograms();
    new NodeCgroup({ name: this.#layout.name }).create();
    await Promise.all([new NodeNetwork({ layout: this.#layout }).create(), createPki(this.#layout)]);
    writeNodeConfig(this.#layout);
    await this.#startGroup(first);
    await Promise.all([this.#importBaseImages(), this.#awaitGroup(first)]);
    await this.#openGateway();
    await this.#startGroup(second);
    await this.#objects.apply();
    await this.#startGroup(third);
    await this.#awaitGroup([...second, ...third]);
    await this.#awaitNode();
  }

  async health(): Promise<ComponentHealth[]> {
    const running = [...this.#components.values()].filter((component) => component.daemon.running() !== undefined);
    const asked = running.length === 0 ? Promise.resolve({}) : this.#ask(running, 0);
    const answers: ProbeAnswers | string = await asked.catch((error: unknown) => String(error));
    const list = [...this.#components.values()].map(({ daemon }): ComponentHealth => {
      if (!running.some((component) => component.daemon === daemon)) return stopped(daemon);
      const answer = typeof answers === "string" ? answers : (answers[daemon.name] ?? "not asked");
      return { component: daemon.name, state: answer === "ok" ? "running" : "sick", detail: answer, logFile: daemon.logFile };
    });
    const apiAnswers = list.some(({ component, state }) => component === "apiserver" && state === "running");
    return [...list, ...(await this.#gatewayHealth(apiAnswers))];
  }

  async recycleVolumes(): Promise<void> {
    await this.#objects.recycleVolumes();
  }

  /** Gateway and node are judged by one question, through the one about the other; with no API server behind it there is nothing to ask. */
  async #gatewayHealth(apiAnswers: boolean): Promise<ComponentHealth[]> {
    const { daemon } = this.#gateway;
    const open: ComponentHealth = {
      component: daemon.name,
      state: "running",
      detail: `127.0.0.1:${this.#gateway.port}`,
      logFile: daemon.logFile,
    };
    const node = { component: nodeName, logFile: this.#layout.logFile("kubelet") };
    const unreachable: ComponentHealth = { ...node, state: "stopped", detail: "unreachable" };
    if (daemon.running() === undefined) return [stopped(daemon), unreachable];
    if (!apiAnswers) return [open, unreachable];
    try {
      const notReady = await this.#nodeNotReady();
      return [open, { ...node, state: notReady === undefined ? "running" : "sick", detail: notReady ?? "Ready" }];
    } catch (error) {
      return [{ ...open, state: "sick", detail: error instanceof Error ? error.message : String(error) }, unreachable];
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

  /** A process that lives and does not answer is replaced; one that answers is left alone. */
  async #startGroup(names: readonly ComponentName[]): Promise<void> {
    const group = this.#pick(names);
    const running = group.filter((component) => component.daemon.running() !== undefined);
    const answers = running.length === 0 ? {} : await this.#ask(running, 2 * ASK_SLICE_MS);
    await Promise.all(running.filter(({ spec }) => answers[spec.name] !== "ok").map(async ({ daemon }) => daemon.stop()));
    for (const component of group) component.start();
  }

  async #awaitGroup(names: readonly ComponentName[]): Promise<void> {
    const group = this.#pick(names);
    let answers: ProbeAnswers = {};
    const dead = (): string | undefined => group.map((component) => component.obituary()).find((text) => text !== undefined);
    await poll(
      async () => {
        answers = await this.#ask(group, ASK_SLICE_MS);
        return Object.values(answers).every((answer) => answer === "ok") ? true : undefined;
      },
      { what: names.join(", "), deadlineMs: GROUP_DEADLINE_MS, giveUp: dead },
    ).catch((cause: unknown) => {
      if (cause instanceof ClusterError && cause.code !== "TIMED_OUT") throw cause;
      const silent = group.filter(({ spec }) => answers[spec.name] !== "ok");
      const texts = silent.map(
        ({ spec, daemon }) => `${spec.name}: ${answers[spec.name]}\n${logTail(daemon.logFile)}\nWhole log: ${daemon.logFile}`,
      );
      throw new ClusterError("COMPONENT_FAILED", `Not up after ${GROUP_DEADLINE_MS / 1000} s:\n${texts.join("\n")}`, { cause });
    });
  }

  /** Ready and with the service account that every pod needs: from here on a plain `kubectl run` works. */
  async #awaitNode(): Promise<void> {
    let last = "not registered";
    await poll(
      async () => {
        try {
          last = (await this.#nodeNotReady()) ?? "Ready, but the namespace default has no service account yet";
          if (last.startsWith("Ready"))
            return await this.#kubectl.run(["get", "serviceaccount", "default", "--namespace=default"]);
        } catch (error) {
          last = error instanceof Error ? error.message : String(error);
        }
        return undefined;
      },
      { what: `node ${nodeName}`, deadlineMs: NODE_DEADLINE_MS },
    ).catch((cause: unknown) => {
      const log = this.#layout.logFile("kubelet");
      throw new ClusterError("COMPONENT_FAILED", `The node is not Ready: ${last}\n${logTail(log)}\nWhole log: ${log}`, { cause });
    });
  }

  /** undefined when Ready, else why not. */
  async #nodeNotReady(): Promise<string | undefined> {
    const node = nodeSchema.parse(await this.#kubectl.raw(`/api/v1/nodes/${nodeName}`));
    const ready = node.status.conditions?.find((condition) => condition.type === "Ready");
    return ready?.status === "True" ? undefined : (ready?.message ?? "no status yet");
  }

  async #ask(components: readonly Component[], waitMs: number): Promise<ProbeAnswers> {
    const probes = Object.fromEntries(components.map(({ spec }): [string, Probe] => [spec.name, spec.probe]));
    return askInside(this.#layout.netnsFile, probes, waitMs);
  }

  async #importBaseImages(): Promise<void> {
    const [pause, busybox] = await Promise.all([buildPauseImage(), buildBusyboxImage()]);
    await this.#awaitGroup(["containerd"]);
    for (const image of [pause, busybox]) await this.images.import(image.archivePath, image.reference);
  }

  #pick(names: readonly ComponentName[]): Component[] {
    return names.flatMap((name) => this.#components.get(name) ?? []);
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

function stopped(daemon: Daemon): ComponentHealth {
  return { component: daemon.name, state: "stopped", detail: "no process", logFile: daemon.logFile };
}
