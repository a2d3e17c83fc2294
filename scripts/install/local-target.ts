import { binaryVersion, missingBinaries } from "../cluster/binaries.ts";
import { LocalCluster } from "../cluster/cluster.ts";
import type { BuiltImage } from "../cluster/images.ts";
import type { NodeCount } from "../cluster/node-layout.ts";
import type { ProductImage } from "./product-image.ts";
import type { Section } from "./section.ts";
import { importedImageValues, type Progress, type Target } from "./target.ts";

/** The cluster of this machine that needs no Docker. */
export class LocalTarget implements Target {
  readonly title: string;
  readonly context: string;
  readonly kubeconfig: string;
  readonly binDir: string;
  readonly logDir: string;
  readonly takesImports = true;
  readonly #name: string;
  readonly #nodes: NodeCount | undefined;

  constructor(options: { readonly name: string; readonly nodes?: NodeCount | undefined }) {
    const cluster = new LocalCluster({ name: options.name, progress: () => {} });
    this.title = `local cluster ${options.name}`;
    this.context = cluster.context;
    this.kubeconfig = cluster.kubeconfig;
    this.binDir = cluster.binDir;
    this.logDir = cluster.logDir;
    this.#name = options.name;
    this.#nodes = options.nodes;
  }

  async exists(): Promise<boolean> {
    return this.#cluster().exists();
  }

  async plan(): Promise<string> {
    const cluster = this.#cluster();
    const missing = missingBinaries(["kubernetes", "helm", "coredns"]);
    const builds = missing.map(({ name, seconds }) => `build ${name} ${binaryVersion(name)} (about ${seconds} s)`);
    const nodes = this.#nodes ?? cluster.nodes;
    const boot = `start Kubernetes on ${nodes} ${nodes === 1 ? "node" : "nodes"}`;
    if (!cluster.exists()) return [...builds, boot].join(", ");
    const sick = (await cluster.health()).filter(({ state }) => state !== "running");
    const heal = sick.length === 0 ? [] : [`heal ${sick.map(({ component }) => component).join(", ")}`];
    const resize = nodes === cluster.nodes ? [] : [`go from ${cluster.nodes} to ${nodes} nodes`];
    const changes = [...builds, ...heal, ...resize];
    return changes.length === 0 ? "runs, nothing to do" : changes.join(", ");
  }

  async up(progress: Progress): Promise<void> {
    await this.#cluster(progress).up(this.#nodes === undefined ? {} : { nodes: this.#nodes });
  }

  async down(progress: Progress): Promise<void> {
    await this.#cluster(progress).down();
  }

  async importImage(image: BuiltImage, progress: Progress): Promise<void> {
    await this.#cluster(progress).importImage(image.archivePath, image.reference);
  }

  imageValues(product: ProductImage): Readonly<Record<string, unknown>> {
    return importedImageValues(product, binaryVersion("nats-server").slice(1));
  }

  async health(): Promise<Section> {
    const health = await this.#cluster().health();
    const sick = health.filter(({ state }) => state !== "running");
    if (sick.length === 0) return { well: true, lines: [`${health.length} components run; context ${this.context}`] };
    const lines = sick.map(({ component, state, detail, logFile }) => `${component} is ${state}: ${detail} (log: ${logFile})`);
    return { well: false, lines: [...lines, "Heal it with: make up"] };
  }

  #cluster(progress: Progress = () => {}): LocalCluster {
    return new LocalCluster({ name: this.#name, progress });
  }
}
