import { existsSync } from "node:fs";
import { command } from "./command.ts";
import { network } from "./network.ts";
import type { NodeLayout } from "./node-layout.ts";

/** A link's name has 15 characters at most, and is alone in its namespace only as long as nobody else's is there. */
const CABLE_END_AT_NODE0 = "cable-node1";

/**
 * A node's own network namespace: a bridge that holds the node's address, the default route and the pods, and no link out of the cluster.
 * So two clusters may use the same addresses, and nothing of the machine's network changes. A further node's bridge is joined to
 * node0's by a cable (a veth pair), so that all nodes and pods are on one layer 2.
 */
export class NodeNetwork {
  readonly #node: NodeLayout;

  constructor(options: { readonly node: NodeLayout }) {
    this.#node = options.node;
  }

  /** After a reboot /run is empty; a namespace without its bridge is the rest of a start that was killed; the cable goes with either end. */
  async intact(): Promise<boolean> {
    if (!existsSync(this.#node.netnsFile)) return false;
    const addressed = await this.#inside("ip", ["-brief", "address", "show", "dev", network.bridge]).then(
      (text) => text.includes(`${this.#node.address}/`),
      () => false,
    );
    return addressed && (this.#node.name === "node0" || (await this.#plugged()));
  }

  /** For a further node: node0's network is there already. */
  async create(): Promise<void> {
    if (await this.intact()) {
      if (this.#node.name !== "node0") await this.switchCable("up");
      return;
    }
    await this.remove();
    await command("ip", ["netns", "add", this.#node.globalName]);
    await this.#inside("ip", ["link", "set", "lo", "up"]);
    await this.#inside("ip", ["link", "add", network.bridge, "type", "bridge"]);
    await this.#inside("ip", ["link", "set", network.bridge, "up"]);
    // The default route makes service addresses reach kube-proxy's rules; nothing lies behind it.
    await this.#inside("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);
    if (this.#node.name !== "node0") await this.#plug();
    // Last, because `intact` goes by the address.
    await this.#inside("ip", ["address", "add", `${this.#node.address}/${network.nodePrefixBits}`, "dev", network.bridge]);
    await this.#inside("ip", ["route", "replace", "default", "dev", network.bridge]);
  }

  async remove(): Promise<void> {
    if (existsSync(this.#node.netnsFile)) await command("ip", ["netns", "delete", this.#node.globalName]);
  }

  /** For a further node; down is as if its cable were pulled: only what is on the node itself is reached from it. */
  async switchCable(state: "up" | "down"): Promise<void> {
    await this.#onFirst(["link", "set", CABLE_END_AT_NODE0, state]);
  }

  async #onFirst(args: readonly string[]): Promise<string> {
    return command("nsenter", [`--net=${this.#node.cluster.node("node0").netnsFile}`, "ip", ...args]);
  }

  async #plug(): Promise<void> {
    // The end of a cable whose other end is in a namespace that processes still hold: it would take the name.
    await this.#onFirst(["link", "delete", CABLE_END_AT_NODE0]).catch(() => "");
    await this.#onFirst([
      "link",
      "add",
      CABLE_END_AT_NODE0,
      "type",
      "veth",
      "peer",
      "name",
      network.uplink,
      "netns",
      this.#node.globalName,
    ]);
    await this.#onFirst(["link", "set", CABLE_END_AT_NODE0, "master", network.bridge, "up"]);
    await this.#inside("ip", ["link", "set", network.uplink, "master", network.bridge, "up"]);
  }

  async #plugged(): Promise<boolean> {
    return this.#inside("ip", ["-brief", "link", "show", "dev", network.uplink]).then(
      () => true,
      () => false,
    );
  }

  async #inside(file: string, args: readonly string[]): Promise<string> {
    return command("nsenter", [`--net=${this.#node.netnsFile}`, file, ...args]);
  }
}
