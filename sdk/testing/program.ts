import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { HeardLog } from "./heard-log.ts";

const line = z.looseObject({ event: z.string() });

/** What `worker-program.ts` does with a message. */
export interface Task {
  /** Holds up the event loop as soon as it is called: until stdin says something, or is closed. */
  readonly blocks?: boolean;
  /** Waits for so long, whatever the signal says. */
  readonly waitMs?: number;
}

/** A worker in a process of its own, whose messages are `Task`s, and whose lines a test awaits. */
export class Program implements Disposable {
  readonly log = new HeardLog();
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: unknown; readonly signal: unknown; readonly said: string }>;

  constructor(env: NodeJS.ProcessEnv) {
    const child = spawn(process.execPath, [join(import.meta.dirname, "worker-program.ts")], {
      env: {
        PATH: process.env["PATH"],
        MILLRACE_RETRY: '{"backoff":{"delays":["0s"]}}',
        HTTP_SERVER_PORT: "0",
        ...env,
      },
    });
    this.child = child;
    createInterface({ input: child.stdout }).on("line", (text) => {
      const { event, ...fields } = line.parse(JSON.parse(text));
      this.log.info(event, fields);
    });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += String(chunk);
    });
    this.ended = once(child, "close").then(([code, signal]: unknown[]) => ({ code, signal, said }));
  }

  /** Ends one handler that blocks. */
  unblock(): void {
    this.child.stdin?.write("\n");
  }

  [Symbol.dispose](): void {
    this.child.kill("SIGKILL");
  }
}
