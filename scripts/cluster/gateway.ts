import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, Server, type Socket } from "node:net";
import { ClusterError } from "./cluster-error.ts";
import { daemonEnvironment } from "./command.ts";
import { Daemon } from "./daemon.ts";
import type { ClusterLayout } from "./layout.ts";
import { logTail } from "./log-tail.ts";
import { network } from "./network.ts";

/** Below the ephemeral range, whose ports any outgoing connection may hold. */
const FIRST_PORT = 26_443;
const PORT_COUNT = 200;

/** The port of the last start first, so a kubeconfig copied elsewhere keeps working; any free one of the range otherwise. */
export function gatewayPorts(lastPort: number | undefined): number[] {
  const range = Array.from({ length: PORT_COUNT }, (_, offset) => FIRST_PORT + offset);
  return lastPort === undefined ? range : [lastPort, ...range.filter((port) => port !== lastPort)];
}

/**
 * The door to a cluster whose network has no link out: listens on 127.0.0.1 of the machine and connects inside.
 * The starter opens the listening socket in the machine's namespace and hands it to a child that lives in the cluster's;
 * a socket belongs to the namespace it was made in, so the child needs nothing else, and the starter may end.
 */
export class Gateway {
  readonly daemon: Daemon;
  readonly #layout: ClusterLayout;

  constructor(options: { readonly layout: ClusterLayout }) {
    this.#layout = options.layout;
    this.daemon = new Daemon({
      name: "gateway",
      pidFile: options.layout.pidFile("gateway"),
      logFile: options.layout.logFile("gateway"),
    });
  }

  get port(): number | undefined {
    if (!existsSync(this.#layout.gatewayPortFile)) return undefined;
    const port = Number(readFileSync(this.#layout.gatewayPortFile, "utf8"));
    return Number.isInteger(port) && port > 0 ? port : undefined;
  }

  async start(): Promise<void> {
    if (this.daemon.running() !== undefined) return;
    const { server, port } = await listenOnFirstFree(gatewayPorts(this.port));
    mkdirSync(this.#layout.logDir, { recursive: true });
    const log = openSync(this.daemon.logFile, "a");
    try {
      const target = [network.controlPlaneAddress, String(network.apiPort)];
      const child = spawn(
        "nsenter",
        [`--net=${this.#layout.node("node0").netnsFile}`, process.execPath, import.meta.filename, ...target],
        {
          cwd: this.#layout.stateDir,
          detached: true,
          env: daemonEnvironment(),
          stdio: ["ignore", log, log, "ipc"],
        },
      );
      await handOver(child, server, this.daemon.logFile);
      this.daemon.record(child.pid);
      writeFileSync(this.#layout.gatewayPortFile, `${port}\n`);
    } finally {
      closeSync(log);
      server.close();
    }
  }
}

async function listenOnFirstFree(ports: readonly number[]): Promise<{ server: Server; port: number }> {
  for (const port of ports) {
    const server = createServer({ pauseOnConnect: true });
    const listening = new Promise<boolean>((resolve) =>
      server.once("listening", () => resolve(true)).once("error", () => resolve(false)),
    );
    server.listen(port, "127.0.0.1");
    if (await listening) return { server, port };
  }
  throw new ClusterError(
    "NO_FREE_PORT",
    `No free port on 127.0.0.1 among ${ports.length} from ${FIRST_PORT}. End the programs that hold them (\`ss -ltnp\`).`,
  );
}

async function handOver(child: ChildProcess, server: Server, logFile: string): Promise<void> {
  const failed = (): ClusterError =>
    new ClusterError(
      "COMPONENT_FAILED",
      `The gateway ended before it took its port. Its last lines:\n${logTail(logFile)}\nWhole log: ${logFile}`,
    );
  await once(child, "spawn").catch((cause: unknown) => {
    throw new ClusterError("COMPONENT_FAILED", "nsenter could not be started. Install util-linux.", { cause });
  });
  const taken = Promise.race([once(child, "message"), once(child, "exit").then(() => Promise.reject(failed()))]);
  child.send("server", server, (error) => {
    if (error !== null) child.kill("SIGKILL");
  });
  await taken;
  child.disconnect();
  child.unref();
}

function join(outside: Socket, host: string, port: number): void {
  const inside = connect(port, host);
  const end = (): void => {
    outside.destroy();
    inside.destroy();
  };
  // Idle watches through a sleeping laptop: the kernel notices a dead peer, and the client reconnects.
  outside.setKeepAlive(true, 30_000);
  outside.setNoDelay(true);
  inside.setNoDelay(true);
  outside.on("error", end).on("close", end);
  inside.on("error", end).on("close", end);
  outside.pipe(inside);
  inside.pipe(outside);
}

function serve(host: string, port: number): void {
  process.on("message", (message: unknown, handle: unknown) => {
    if (message !== "server" || !(handle instanceof Server)) return;
    handle.on("connection", (socket: Socket) => join(socket, host, port));
    process.send?.("taken");
  });
}

if (import.meta.main) serve(process.argv[2] ?? "", Number(process.argv[3]));
