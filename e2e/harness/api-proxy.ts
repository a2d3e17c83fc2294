import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { command, daemonEnvironment } from "../../scripts/cluster/command.ts";
import { network } from "../../scripts/cluster/network.ts";
import { type ApiFault, type Exchange, type Order, PROXY_PORT } from "./api-proxy-process.ts";
import { atLeast, Changes } from "./changes.ts";
import type { Installation } from "./installation.ts";
import { serviceProcesses } from "./service-processes.ts";

const PROGRAM = join(import.meta.dirname, "api-proxy-process.ts");
const TABLE = "millrace-faults";

/**
 * An HTTP proxy between the pods and the API server, in the cluster's network: whatever pods send to the API server's Service goes to it,
 * by a rule of the kernel; nothing of an installation is changed. It has the API server's own certificate.
 */
export class ApiProxy implements AsyncDisposable {
  readonly exchanges: Exchange[] = [];
  readonly #millrace: Installation;
  readonly #child: ChildProcess;
  readonly #changes = new Changes();

  private constructor(millrace: Installation, child: ChildProcess) {
    this.#millrace = millrace;
    this.#child = child;
    child.on("message", (exchange) => {
      this.exchanges.push(exchange as Exchange);
      this.#changes.announce();
    });
  }

  static async open(millrace: Installation): Promise<ApiProxy> {
    const { cluster } = millrace;
    const args = [`--net=/run/netns/${cluster.name}`, process.execPath, PROGRAM, join(cluster.stateDir, "pki")];
    const child = spawn("nsenter", args, { env: daemonEnvironment(), stdio: ["ignore", "inherit", "inherit", "ipc"] });
    await once(child, "message");
    const proxy = new ApiProxy(millrace, child);
    const rule = `ip daddr ${network.apiServiceAddress} tcp dport 443 dnat to ${network.controlPlaneAddress}:${PROXY_PORT}`;
    const hook = "type nat hook prerouting priority dstnat - 20;";
    // A run that was cut off has left its own.
    const empty = `table ip ${TABLE} {};`;
    await proxy.#inNetwork(
      "nft",
      ["-f", "-"],
      `${empty} delete table ip ${TABLE}; table ip ${TABLE} { chain to-proxy { ${hook} ${rule}; }; }`,
    );
    await cutConnections(millrace);
    return proxy;
  }

  set(fault: ApiFault): void {
    this.#order({ fault });
  }

  cutWatches(): void {
    this.#order({ watches: "cut" });
  }

  silenceWatches(path: string): void {
    this.#order({ watches: "silence", path });
  }

  /** Resolves with the exchanges from here on that match, once there are so many. */
  async next(what: string, count: number, matches: (exchange: Exchange) => boolean, timeoutMs = 120_000): Promise<Exchange[]> {
    const from = this.exchanges.length;
    const find = (): Exchange[] => this.exchanges.slice(from).filter(matches);
    return this.#changes.until(() => atLeast(count, find()), {
      what: `${count} × ${what}`,
      limitMs: timeoutMs,
      seen: () => ({ matching: find().length, last: this.exchanges.slice(from).slice(-5) }),
    });
  }

  /** Pods speak to the API server itself again. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inNetwork("nft", ["delete", "table", "ip", TABLE]);
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exit;
  }

  #order(order: Order): void {
    this.#child.send(order);
  }

  #inNetwork(file: string, args: readonly string[], input = ""): Promise<string> {
    return command("nsenter", [`--net=/run/netns/${this.#millrace.cluster.name}`, file, ...args], { input });
  }
}

/** Every connection of the services to the API server is closed by the kernel, so that the next request opens a new one. */
export async function cutConnections(millrace: Installation): Promise<void> {
  const found = await Promise.all([serviceProcesses(millrace, "dispatcher"), serviceProcesses(millrace, "monitor")]);
  for (const { pid } of found.flat()) {
    await command("nsenter", [`--net=/proc/${pid}/ns/net`, "ss", "-K", "-t", "dst", network.apiServiceAddress]);
  }
}
