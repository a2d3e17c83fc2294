import { command } from "./command.ts";

/** The cluster's own kubectl, with its own kubeconfig: neither the user's context nor another version can get between. */
export class Kubectl {
  readonly #program: string;
  readonly #kubeconfig: string;

  constructor(options: { readonly program: string; readonly kubeconfig: string }) {
    this.#program = options.program;
    this.#kubeconfig = options.kubeconfig;
  }

  async run(args: readonly string[], input = ""): Promise<string> {
    return command(this.#program, [`--kubeconfig=${this.#kubeconfig}`, ...args], { input });
  }

  async json(args: readonly string[]): Promise<unknown> {
    return JSON.parse(await this.run([...args, "--output=json"]));
  }

  /** One request and no discovery before it, so an API server that is down is found out at once. */
  async raw(path: string): Promise<unknown> {
    return JSON.parse(await this.run(["get", "--raw", path, "--request-timeout=5s"]));
  }

  /** Server-side, so a repeated apply of the same objects changes nothing. */
  async apply(objects: readonly object[]): Promise<void> {
    const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    await this.run(["apply", "--server-side", "--force-conflicts", "--filename=-"], list);
  }
}
