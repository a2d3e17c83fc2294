import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { ensureBinaries } from "../../../scripts/cluster/binaries.ts";

const CLIENT_PORT = /Listening for client connections on .*:(\d+)$/;
const MONITOR_PORT = /Starting http monitor on .*:(\d+)$/;
const READY = /Server is ready$/;

/**
 * A real nats-server on a random port with a store of its own, which syncs every write as the product's does.
 *
 *   started → (kill → restarted on the same port and store)* → disposed: no process, no store
 */
export class NatsTestServer implements AsyncDisposable {
  readonly #binary: string;
  readonly #dir: string;
  readonly #extraConfig: string;
  readonly #connections: NatsConnection[] = [];
  readonly #killOnExit = (): void => void this.#process?.kill("SIGKILL");
  #process: ChildProcess | undefined;
  #reconnected: Promise<void>[] = [];
  #port = -1;
  #monitorPort = -1;

  private constructor(binary: string, dir: string, extraConfig: string) {
    this.#binary = binary;
    this.#dir = dir;
    this.#extraConfig = extraConfig;
    process.once("exit", this.#killOnExit);
  }

  /** `config`: more lines of its configuration, such as users. */
  static async start({ config = "" }: { readonly config?: string } = {}): Promise<NatsTestServer> {
    const binaries = await ensureBinaries(["nats-server"], (line) => process.stderr.write(`${line}\n`));
    const server = new NatsTestServer(binaries["nats-server"], await mkdtemp(join(tmpdir(), "millrace-nats-")), config);
    await server.#spawn();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.#port}`;
  }

  /** Where the files of a stream are. */
  streamFolder(stream: string): string {
    return join(this.#dir, "store", "jetstream", "$G", "streams", stream);
  }

  /** The HTTP monitoring address. */
  get monitorUrl(): string {
    return `http://127.0.0.1:${this.#monitorPort}`;
  }

  /** A connection that is closed with the server. */
  async connect(): Promise<NatsConnection> {
    const connection = await connect({ servers: this.url, maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 20 });
    this.#connections.push(connection);
    return connection;
  }

  /** `kill -9`: nothing is flushed, nobody is told; unlike SIGTERM. */
  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    this.#reconnected = this.#connections.filter((connection) => !connection.isClosed()).map(reconnect);
    child.kill(signal);
    await exited;
  }

  /** On the same port and store; resolves when the connections are back. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#spawn();
    await Promise.all(this.#reconnected);
  }

  async #spawn(): Promise<void> {
    const config = join(this.#dir, "nats.conf");
    await writeFile(config, this.#config());
    const child = spawn(this.#binary, ["--config", config], { stdio: ["ignore", "ignore", "pipe"] });
    this.#process = child;
    const log: string[] = [];
    for await (const line of createInterface({ input: child.stderr })) {
      log.push(line);
      this.#port = Number(CLIENT_PORT.exec(line)?.[1] ?? this.#port);
      this.#monitorPort = Number(MONITOR_PORT.exec(line)?.[1] ?? this.#monitorPort);
      if (!READY.test(line)) continue;
      child.stderr.resume();
      return;
    }
    throw new Error(`nats-server ended before it was ready:\n${log.join("\n")}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
    await this.kill();
    process.off("exit", this.#killOnExit);
    await rm(this.#dir, { recursive: true, force: true });
  }

  #config(): string {
    return [
      `listen: "127.0.0.1:${this.#port}"`,
      `http: "127.0.0.1:${this.#monitorPort}"`,
      "max_payload: 2MiB",
      `jetstream { store_dir: "${join(this.#dir, "store")}", sync_interval: always, max_file_store: 1GiB }`,
      this.#extraConfig,
    ].join("\n");
  }
}

async function reconnect(connection: NatsConnection): Promise<void> {
  for await (const status of connection.status()) if (status.type === "reconnect") return;
}
