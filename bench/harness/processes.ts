import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { daemonEnvironment } from "../../scripts/cluster/command.ts";
import { logTail } from "../../scripts/cluster/log-tail.ts";

const STOP_MS = 10_000;

export interface ProcessOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Everything that it says goes there. */
  readonly logFile: string;
}

/** A line of its log, and when it came. */
export type LineListener = (line: string, atMs: number) => void;

/** A program that is measured. Starts → says lines → ends by `stop`, or with this process. */
export class BenchProcess {
  readonly name: string;
  readonly logFile: string;
  readonly #child: ChildProcess;
  readonly #listeners = new Set<LineListener>();
  readonly #kill = (): void => void this.#child.kill("SIGKILL");

  constructor(options: ProcessOptions) {
    const [file = "", ...args] = options.command;
    this.name = options.name;
    this.logFile = options.logFile;
    this.#child = spawn(file, args, {
      env: { ...daemonEnvironment(), ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    process.once("exit", this.#kill);
    const log = openSync(options.logFile, "a");
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      if (output === null) continue;
      createInterface({ input: output }).on("line", (line) => {
        const atMs = performance.now();
        for (const listener of this.#listeners) listener(line, atMs);
        writeSync(log, `${line}\n`);
      });
    }
    this.#child.once("close", () => closeSync(log));
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} did not start`);
    return this.#child.pid;
  }

  onLine(listener: LineListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** When the `count`th line from now on that holds `text` came. */
  async lines(text: string, count: number, timeoutMs = 300_000): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    let seen = 0;
    const off = this.onLine((line, atMs) => {
      if (!line.includes(text)) return;
      seen += 1;
      if (seen >= count) resolve(atMs);
    });
    const failed = (why: string): void =>
      reject(new Error(`${this.name} ${why} after ${seen} of ${count} × ${text}. Its last lines:\n${logTail(this.logFile)}`));
    const ended = (): void => failed("ended");
    const timer = setTimeout(() => failed("was silent"), timeoutMs);
    this.#child.once("exit", ended);
    return promise.finally(() => {
      off();
      clearTimeout(timer);
      this.#child.off("exit", ended);
    });
  }

  /** SIGKILL: it gets no chance to say or write anything more. */
  async kill(): Promise<void> {
    process.off("exit", this.#kill);
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  /** SIGTERM, and after a while SIGKILL. */
  async stop(): Promise<void> {
    process.off("exit", this.#kill);
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(timer);
  }
}
