import { stringify } from "yaml";
import { binaryVersion } from "../cluster/binaries.ts";
import { command } from "../cluster/command.ts";
import type { BuiltImage } from "../cluster/images.ts";
import type { NodeCount } from "../cluster/node-layout.ts";
import { clientTools, toolsDir } from "./client-tools.ts";
import { nodeLines } from "./node-lines.ts";
import type { ProductImage } from "./product-image.ts";
import type { Section } from "./section.ts";
import { importedImageValues, kubectl, type Progress, type Target, userKubeconfig } from "./target.ts";

/** A kind cluster, where a Docker engine answers and `kind` is installed. */
export class KindTarget implements Target {
  readonly title: string;
  readonly context: string;
  readonly kubeconfig = userKubeconfig();
  readonly binDir = toolsDir();
  readonly takesImports = true;
  readonly #name: string;
  readonly #nodes: NodeCount;

  constructor(options: { readonly name: string; readonly nodes?: NodeCount | undefined }) {
    this.title = `kind cluster ${options.name}`;
    this.context = `kind-${options.name}`;
    this.#name = options.name;
    this.#nodes = options.nodes ?? 1;
  }

  async exists(): Promise<boolean> {
    return (await this.#kind(["get", "clusters"])).split("\n").includes(this.#name);
  }

  async plan(): Promise<string> {
    return (await this.exists())
      ? "is there, nothing to do"
      : `create it with kind, ${this.#nodes} ${this.#nodes === 1 ? "node" : "nodes"}`;
  }

  async up(progress: Progress): Promise<void> {
    await clientTools(progress);
    if (await this.exists()) {
      await this.#kind(["export", "kubeconfig", "--name", this.#name]);
      await kubectl(this, ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s"]);
      return;
    }
    progress(`creating the kind cluster ${this.#name}`);
    await this.#kind(["create", "cluster", "--name", this.#name, "--config", "-", "--wait", "180s"], kindConfig(this.#nodes));
  }

  async down(): Promise<void> {
    await this.#kind(["delete", "cluster", "--name", this.#name]);
  }

  async importImage(image: BuiltImage, progress: Progress): Promise<void> {
    progress(`loading ${image.reference}`);
    await this.#kind(["load", "image-archive", image.archivePath, "--name", this.#name]);
  }

  imageValues(product: ProductImage): Readonly<Record<string, unknown>> {
    return importedImageValues(product, binaryVersion("nats-server").slice(1));
  }

  async health(): Promise<Section> {
    return nodeLines(this);
  }

  #kind(args: readonly string[], input = ""): Promise<string> {
    return command("kind", args, { input, hint: "Does the Docker engine still answer? Ask it with: docker info" });
  }
}

/** One node that takes pods, or a control plane with one worker. */
export function kindConfig(nodes: NodeCount): string {
  const roles = ["control-plane", "worker"].slice(0, nodes);
  return stringify({ kind: "Cluster", apiVersion: "kind.x-k8s.io/v1alpha4", nodes: roles.map((role) => ({ role })) });
}
