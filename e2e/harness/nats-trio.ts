import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pause } from "../../libs/runtime/backoff.ts";
import { ensureBinaries } from "../../scripts/cluster/binaries.ts";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";
import { network } from "../../scripts/cluster/network.ts";
import { openRelay, type Relay } from "./relay.ts";

const FIRST_PORT = 14_220;
const PORT = { client: 0, route: 10, monitor: 20 } as const;
const NAMES = ["first", "second", "third"] as const;
const UP_MS = 60_000;

export type ServerName = (typeof NAMES)[number];
export const SERVICES_USER = { user: "millrace", password: "of-the-tests" } as const;

/**
 * Three nats-servers of the tests' own in the cluster's network, as an operator's NATS that is not part of the release: killed, reconfigured
 * and started again in a moment, which pods are not.
 */
export class NatsTrio implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "millrace-trio-"));
  readonly #netnsFile: string;
  readonly #processes = new Map<ServerName, ChildProcess>();
  readonly #relays: Relay[] = [];
  #program = "";
  #denied: readonly string[] = [];
  #password: string = SERVICES_USER.password;

  private constructor(cluster: LocalCluster) {
    this.#netnsFile = `/run/netns/${cluster.name}`;
  }

  static async start(cluster: LocalCluster): Promise<NatsTrio> {
    const trio = new NatsTrio(cluster);
    trio.#program = (await ensureBinaries(["nats-server"], () => {}))["nats-server"];
    for (const name of NAMES) trio.#launch(name);
    for (const name of NAMES) {
      const at = { netnsFile: trio.#netnsFile, host: network.controlPlaneAddress, port: portOf(name, "client") };
      trio.#relays.push(await openRelay(at));
    }
    await Promise.all(NAMES.map((name) => trio.#answers(name)));
    return trio;
  }

  /** For the pods of the cluster. */
  get url(): string {
    return NAMES.map((name) => `nats://${network.controlPlaneAddress}:${portOf(name, "client")}`).join(",");
  }

  /** For the tests. */
  get outsideUrl(): string {
    return this.#relays.map(({ port }) => `nats://127.0.0.1:${port}`).join(",");
  }

  /** Who leads the group of all servers: makes streams and consumers. */
  async metaLeader(): Promise<ServerName> {
    for (;;) {
      for (const name of NAMES) {
        const leader = await this.#ask(name, "jsz").catch(() => undefined);
        const found = NAMES.find((each) => each === leader?.meta_cluster?.leader);
        if (found !== undefined) return found;
      }
      await pause(200, AbortSignal.timeout(UP_MS));
    }
  }

  /** `kill -9`, and started again when `until` has happened. */
  async strike(name: ServerName, until: () => Promise<unknown>): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined) throw new Error(`${name} does not run`);
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    await until();
    this.#launch(name);
    await this.#answers(name);
  }

  /** What the services may not publish from here on. */
  deny(subjects: readonly string[]): void {
    this.#denied = subjects;
    this.#reload();
  }

  /** Whether the services' password is the right one. */
  admit(isRight: boolean): void {
    this.#password = isRight ? SERVICES_USER.password : "another";
    this.#reload();
  }

  /** Servers that run read their configuration anew. */
  #reload(): void {
    for (const [name, child] of this.#processes) {
      writeFileSync(this.#configFile(name), this.#config(name));
      child.kill("SIGHUP");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const children = [...this.#processes.values()].filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    const exits = children.map((child) => once(child, "exit"));
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(exits);
    for (const relay of this.#relays) await relay[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true });
  }

  #launch(name: ServerName): void {
    writeFileSync(this.#configFile(name), this.#config(name));
    const log = openSync(join(this.#folder, `${name}.log`), "a");
    const args = [`--net=${this.#netnsFile}`, this.#program, "--config", this.#configFile(name)];
    this.#processes.set(name, spawn("nsenter", args, { stdio: ["ignore", log, log] }));
  }

  /** Its streams and consumers are as new as their leaders'. */
  async #answers(name: ServerName): Promise<void> {
    const deadline = AbortSignal.timeout(UP_MS);
    for (;;) {
      const health = await this.#ask(name, "healthz").catch(() => undefined);
      if (health?.status === "ok") return;
      if (deadline.aborted) throw new Error(`${name} is not healthy; its log is ${this.#folder}/${name}.log`);
      await pause(200, deadline);
    }
  }

  async #ask(name: ServerName, what: string): Promise<{ status?: string; meta_cluster?: { leader?: string } }> {
    const url = `http://${network.controlPlaneAddress}:${portOf(name, "monitor")}/${what}`;
    return JSON.parse(await command("nsenter", [`--net=${this.#netnsFile}`, "curl", "--silent", "--max-time", "2", url]));
  }

  #configFile(name: ServerName): string {
    return join(this.#folder, `${name}.conf`);
  }

  #config(name: ServerName): string {
    const host = network.controlPlaneAddress;
    const { user } = SERVICES_USER;
    const routes = NAMES.filter((each) => each !== name).map((each) => `"nats://${host}:${portOf(each, "route")}"`);
    const permissions = JSON.stringify({ publish: { allow: [">"], deny: this.#denied } });
    return `server_name: ${name}
listen: "${host}:${portOf(name, "client")}"
http: "${host}:${portOf(name, "monitor")}"
max_payload: 2MiB
jetstream { store_dir: "${join(this.#folder, name)}", sync_interval: always, max_file_store: 2GiB }
cluster { name: trio, listen: "${host}:${portOf(name, "route")}", no_advertise: true, routes: [${routes.join(", ")}] }
authorization { users: [
  { user: ${user}, password: ${this.#password}, permissions: ${permissions} }
  { user: e2e, password: e2e }
] }
no_auth_user: e2e
`;
  }
}

function portOf(name: ServerName, what: keyof typeof PORT): number {
  return FIRST_PORT + PORT[what] + NAMES.indexOf(name);
}
