import { existsSync } from "node:fs";
import { command } from "./command.ts";
import { type ClusterLayout, network } from "./layout.ts";

/**
 * The node's own network namespace: a bridge that holds the node's address, the default route and the pods, and no link out.
 * So two clusters may use the same addresses, and nothing of the machine's network changes.
 */
export class NodeNetwork {
  readonly #layout: ClusterLayout;

  constructor(options: { readonly layout: ClusterLayout }) {
    this.#layout = options.layout;
  }

  /** After a reboot /run is empty; a namespace without its bridge is the rest of a start that was killed. */
  async intact(): Promise<boolean> {
    if (!existsSync(this.#layout.netnsFile)) return false;
    return this.#inside("ip", ["-brief", "address", "show", "dev", network.bridge]).then(
      (text) => text.includes(`${network.nodeAddress}/`),
      () => false,
    );
  }

  async create(): Promise<void> {
    if (await this.intact()) return;
    await this.remove();
    await command("ip", ["netns", "add", this.#layout.name]);
    await this.#inside("ip", ["link", "set", "lo", "up"]);
    await this.#inside("ip", ["link", "add", network.bridge, "type", "bridge"]);
    await this.#inside("ip", ["link", "set", network.bridge, "up"]);
    // The default route makes service addresses reach kube-proxy's rules; nothing lies behind it.
    await this.#inside("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);
    // Last, because `intact` goes by the address.
    await this.#inside("ip", ["address", "add", `${network.nodeAddress}/${network.nodePrefixBits}`, "dev", network.bridge]);
    await this.#inside("ip", ["route", "replace", "default", "dev", network.bridge]);
  }

  async remove(): Promise<void> {
    if (existsSync(this.#layout.netnsFile)) await command("ip", ["netns", "delete", this.#layout.name]);
  }

  async #inside(file: string, args: readonly string[]): Promise<string> {
    return command("nsenter", [`--net=${this.#layout.netnsFile}`, file, ...args]);
  }
}
