import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import type { ComponentHealth } from "./component-health.ts";
import { logTail } from "./log-tail.ts";
import { poll } from "./polling.ts";
import { formatIdentity, identityOf, isAlive, type ProcessIdentity, parseIdentity, signalProcess } from "./process-identity.ts";

/** kube-apiserver stays up to a minute after TERM while watches are open; nothing here needs longer than this to end well. */
const TERM_GRACE_MS = 2_000;
const KILL_GRACE_MS = 5_000;
const LAST_LINE_LENGTH = 300;

export interface DaemonOptions {
  readonly name: string;
  readonly pidFile: string;
  readonly logFile: string;
  /** @default 2000 */
  readonly termGraceMs?: number;
}

/**
 * One background process, remembered across our own processes by its pid file.
 * stopped → recorded (running) → stopped, by itself or by `stop`. Only the very process that was recorded is ever signalled.
 */
export class Daemon {
  readonly name: string;
  readonly pidFile: string;
  readonly logFile: string;

  readonly #termGraceMs: number;

  constructor(options: DaemonOptions) {
    this.name = options.name;
    this.pidFile = options.pidFile;
    this.logFile = options.logFile;
    this.#termGraceMs = options.termGraceMs ?? TERM_GRACE_MS;
  }

  running(): ProcessIdentity | undefined {
    try {
      const identity = parseIdentity(readFileSync(this.pidFile, "utf8"));
      return identity !== undefined && isAlive(identity) ? identity : undefined;
    } catch {
      return undefined;
    }
  }

  record(pid: number | undefined): void {
    const identity = pid === undefined ? undefined : identityOf(pid);
    if (identity === undefined) {
      throw new ClusterError("COMPONENT_FAILED", `${this.name} ended as soon as it was started. Its log: ${this.logFile}`);
    }
    mkdirSync(dirname(this.pidFile), { recursive: true });
    writeFileSync(this.pidFile, formatIdentity(identity));
  }

  /** Of a daemon that does not run: its last words are the best reason that there is. */
  stoppedHealth(): ComponentHealth {
    return { component: this.name, state: "stopped", detail: `no process${this.lastWords()}`, logFile: this.logFile };
  }

  /** The end of a sentence about a daemon that is not well; empty when it has not said anything. */
  lastWords(): string {
    const last = existsSync(this.logFile) ? logTail(this.logFile, 1).trim() : "";
    return last === "" ? "" : `; last line of its log: ${last.slice(0, LAST_LINE_LENGTH)}`;
  }

  async stop(): Promise<void> {
    const identity = this.running();
    if (identity !== undefined) {
      signalProcess(identity.pid, "SIGTERM");
      if (!(await this.#gone(identity, this.#termGraceMs))) {
        signalProcess(identity.pid, "SIGKILL");
        if (!(await this.#gone(identity, KILL_GRACE_MS))) {
          throw new ClusterError(
            "TEARDOWN_INCOMPLETE",
            `${this.name} (pid ${identity.pid}) survives SIGKILL: it hangs in the kernel. Reboot.`,
          );
        }
      }
    }
    rmSync(this.pidFile, { force: true });
  }

  async #gone(identity: ProcessIdentity, deadlineMs: number): Promise<boolean> {
    return poll(() => (isAlive(identity) ? undefined : true), { what: `${this.name} to end`, deadlineMs, intervalMs: 25 }).catch(
      () => false,
    );
  }
}
