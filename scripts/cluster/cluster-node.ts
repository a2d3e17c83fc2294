import { mkdirSync } from "node:fs";
import { ClusterError } from "./cluster-error.ts";
import { Component, type Probe } from "./component.ts";
import type { ComponentHealth } from "./component-health.ts";
import { type ComponentName, componentSpecs, type Programs, startOrder } from "./control-plane.ts";
import { ImageStore } from "./image-store.ts";
import { buildBusyboxImage, buildPauseImage } from "./images.ts";
import { logTail } from "./log-tail.ts";
import { NodeCgroup } from "./node-cgroup.ts";
import { writeNodeConfig } from "./node-config.ts";
import type { NodeLayout } from "./node-layout.ts";
import { NodeNetwork } from "./node-network.ts";
import { createNodeCertificate } from "./pki.ts";
import { poll } from "./polling.ts";
import { askInside, type ProbeAnswers } from "./probe.ts";

const GROUP_DEADLINE_MS = 60_000;
/** One question's share of the wait: in between, a process that has died ends the wait. */
const ASK_SLICE_MS = 1_000;

/**
 * One node: the programs that run on it, in its network namespace; on node0 the control plane is among them.
 * Each step brings it on from any state, touching only what is not as it should be.
 */
export class ClusterNode {
  readonly layout: NodeLayout;
  readonly #components: ReadonlyMap<ComponentName, Component>;
  readonly #network: NodeNetwork;
  readonly #images: ImageStore;

  constructor(options: { readonly layout: NodeLayout; readonly programs: Programs }) {
    const { layout, programs } = options;
    this.layout = layout;
    const specs = componentSpecs(layout, programs);
    this.#components = new Map(
      startOrder.flat().flatMap((name) => {
        const spec = specs[name];
        return spec === undefined ? [] : [[name, new Component({ spec, node: layout })] as const];
      }),
    );
    this.#network = new NodeNetwork({ node: layout });
    this.#images = new ImageStore({ node: layout });
  }

  /** Everything that its programs find at their start. For node0 the authority is there already, for another node0's network too. */
  async prepare(): Promise<void> {
    mkdirSync(this.layout.dir, { recursive: true, mode: 0o700 });
    new NodeCgroup({ name: this.layout.globalName }).create();
    await Promise.all([this.#network.create(), createNodeCertificate(this.layout)]);
    writeNodeConfig(this.layout);
  }

  /** A process that lives and does not answer is replaced; one that answers is left alone. Names of programs of other nodes are passed over. */
  async startGroup(names: readonly ComponentName[]): Promise<void> {
    const group = this.#pick(names);
    const running = group.filter((component) => component.daemon.running() !== undefined);
    const answers = running.length === 0 ? {} : await this.#ask(running, 2 * ASK_SLICE_MS);
    await Promise.all(running.filter(({ spec }) => answers[spec.name] !== "ok").map(async ({ daemon }) => daemon.stop()));
    for (const component of group) component.start();
  }

  async awaitGroup(names: readonly ComponentName[]): Promise<void> {
    const group = this.#pick(names);
    if (group.length === 0) return;
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

  async importBaseImages(): Promise<void> {
    const [pause, busybox] = await Promise.all([buildPauseImage(), buildBusyboxImage()]);
    await this.awaitGroup(["containerd"]);
    for (const image of [pause, busybox]) await this.#images.import(image.archivePath, image.reference);
  }

  async health(): Promise<ComponentHealth[]> {
    const components = [...this.#components.values()];
    const running = components.filter((component) => component.daemon.running() !== undefined);
    const asked = running.length === 0 ? Promise.resolve({}) : this.#ask(running, 0);
    const answers: ProbeAnswers | string = await asked.catch((error: unknown) => String(error));
    return components.map((component): ComponentHealth => {
      const { daemon } = component;
      if (!running.includes(component)) return daemon.stoppedHealth();
      const answer = typeof answers === "string" ? answers : (answers[daemon.name] ?? "not asked");
      if (answer === "ok") return { component: daemon.name, state: "running", detail: answer, logFile: daemon.logFile };
      return { component: daemon.name, state: "sick", detail: `${answer}${daemon.lastWords()}`, logFile: daemon.logFile };
    });
  }

  /** Processes keep a deleted namespace to themselves: with those alive and it gone, nothing new can join them. */
  async joinable(): Promise<boolean> {
    const anyAlive = [...this.#components.values()].some(({ daemon }) => daemon.running() !== undefined);
    return !anyAlive || this.#network.intact();
  }

  async #ask(components: readonly Component[], waitMs: number): Promise<ProbeAnswers> {
    const probes = Object.fromEntries(components.map(({ spec }): [string, Probe] => [spec.name, spec.probe]));
    return askInside(this.layout.netnsFile, probes, waitMs);
  }

  #pick(names: readonly ComponentName[]): Component[] {
    return names.flatMap((name) => this.#components.get(name) ?? []);
  }
}
