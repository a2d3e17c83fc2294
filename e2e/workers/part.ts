import type { Installation } from "../harness/installation.ts";

export interface PartOptions {
  readonly kubectl: Installation["kubectl"];
  readonly namespace: string;
  /** `deployment/<name>` or `statefulset/<name>`. */
  readonly workload: string;
  /** Of its pods' labels. */
  readonly selector: string;
}

/** Something that workers rely on and that can be taken away: a Deployment, or a StatefulSet. */
export class Part {
  readonly #options: PartOptions;

  constructor(options: PartOptions) {
    this.#options = options;
  }

  /** Plays `meanwhile` once not one of its pods is left. Whatever comes of that, they are there again afterwards, and ready. */
  async whileAway(meanwhile: () => Promise<void>): Promise<void> {
    const { workload, selector } = this.#options;
    const replicas = await this.#kubectl("get", workload, "-o", "jsonpath={.spec.replicas}");
    try {
      await this.#kubectl("scale", workload, "--replicas=0");
      await this.#kubectl("wait", "--for=delete", "pods", "-l", selector, "--timeout=60s");
      await meanwhile();
    } finally {
      await this.#kubectl("scale", workload, `--replicas=${replicas}`);
      await this.#kubectl("rollout", "status", workload, "--timeout=120s");
    }
  }

  #kubectl(...args: readonly string[]): Promise<string> {
    return this.#options.kubectl(["-n", this.#options.namespace, ...args]);
  }
}
