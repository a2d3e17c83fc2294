import { ClusterError } from "../cluster/cluster-error.ts";
import { clientTools, toolsDir } from "./client-tools.ts";
import { nodeLines } from "./node-lines.ts";
import type { ProductImage } from "./product-image.ts";
import { splitRegistry } from "./registry.ts";
import type { Section } from "./section.ts";
import { kubectl, type Progress, type Target, userKubeconfig } from "./target.ts";

/** A cluster that somebody else made and named by its kube context. Nothing is done to it but what the chart and its namespaces are. */
export class ContextTarget implements Target {
  readonly title: string;
  readonly context: string;
  readonly kubeconfig = userKubeconfig();
  readonly binDir = toolsDir();
  readonly takesImports = false;
  readonly #registry: string | undefined;

  /** `registry` is where `make push` put the image, as host/path. */
  constructor(options: { readonly context: string; readonly registry: string | undefined }) {
    this.title = `context ${options.context}`;
    this.context = options.context;
    this.#registry = options.registry;
  }

  async exists(): Promise<boolean> {
    return true;
  }

  async plan(): Promise<string> {
    return "is only looked at: it must answer";
  }

  async up(progress: Progress): Promise<void> {
    await clientTools(progress);
    await kubectl(this, ["version", "--request-timeout=15s"], {
      hint: `Does the cluster of the context ${this.context} run, and may you reach it? Contexts: kubectl config get-contexts`,
    });
  }

  async down(): Promise<void> {
    throw new ClusterError(
      "CONTEXT_REFUSED",
      `The cluster of the context ${this.context} is not ours to remove. The release: helm uninstall`,
    );
  }

  async importImage(): Promise<void> {
    throw new ClusterError(
      "IMAGE_INPUT_MISSING",
      `Images cannot be put into the cluster of the context ${this.context}; it pulls them.`,
    );
  }

  imageValues(product: ProductImage): Readonly<Record<string, unknown>> {
    if (this.#registry === undefined) {
      throw new ClusterError(
        "OPTION_INVALID",
        `A cluster behind --context pulls its images. Push the image first (make push REGISTRY=host/path), then name the place: --registry host/path`,
      );
    }
    const { registry, path } = splitRegistry(this.#registry);
    return { image: { registry, repository: [path, "millrace"].filter((part) => part !== "").join("/"), tag: product.tag } };
  }

  async health(): Promise<Section> {
    return nodeLines(this);
  }
}
