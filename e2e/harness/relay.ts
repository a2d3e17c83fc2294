import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, Server, type Socket } from "node:net";

/** A port on 127.0.0.1 of the machine that leads to an address inside a network namespace without a way out. */
export interface Relay extends AsyncDisposable {
  readonly port: number;
}

/** As the cluster's gateway: the socket is made out here and handed to a child that lives inside. */
export async function openRelay(options: {
  readonly netnsFile: string;
  readonly host: string;
  readonly port: number;
}): Promise<Relay> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const target = [options.host, String(options.port)];
  const child: ChildProcess = spawn(
    "nsenter",
    [`--net=${options.netnsFile}`, process.execPath, import.meta.filename, ...target],
    { stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
  const taken = once(child, "message");
  child.send("server", server);
  await taken;
  server.close();
  return {
    port,
    async [Symbol.asyncDispose]() {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function serve(host: string, port: number): void {
  process.on("disconnect", () => process.exit());
  process.on("message", (_message, handle) => {
    if (!(handle instanceof Server)) return;
    handle.on("connection", (outside: Socket) => {
      const inside = connect(port, host);
      const end = (): void => {
        outside.destroy();
        inside.destroy();
      };
      for (const socket of [outside, inside]) socket.on("error", end).on("close", end);
      outside.pipe(inside).pipe(outside);
    });
    process.send?.("taken");
  });
}

if (import.meta.main) serve(process.argv[2] ?? "", Number(process.argv[3]));
