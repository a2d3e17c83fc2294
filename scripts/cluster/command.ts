import { appendFileSync, existsSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import { $, ProcessOutput } from "zx";
import { ClusterError, type ClusterErrorCode } from "./cluster-error.ts";
import { likelyCause } from "./likely-cause.ts";
import { lastLines } from "./log-tail.ts";

/** Daemons and network tools live in sbin, which is not on every user's PATH. */
const systemFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

export function programPath(): string {
  return [process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin", ...systemFolders].join(delimiter);
}

/** Where the shell would find a program; `except` are folders that do not count. */
export function onPath(name: string, except: readonly string[] = []): string | undefined {
  const folders = programPath()
    .split(delimiter)
    .filter((folder) => !except.includes(folder));
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

/**
 * For long-lived processes: nothing of the shell that happened to start them. A proxy setting would send the cluster's own
 * traffic out, and NODE_OPTIONS of a test runner would load its hooks.
 */
export function daemonEnvironment(): Record<string, string> {
  return { PATH: programPath(), HOME: process.env["HOME"] ?? "/root" };
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Then the program is ended, and that is a failure. @default none */
  readonly timeoutMs?: number;
  /** Kept whole even when the command succeeds: the place a user is sent to. */
  readonly logFile?: string;
  readonly code?: ClusterErrorCode;
  /** The likely fix, in words, when the output shows no better one; ends the error's message. */
  readonly hint?: string;
}

/** Runs a program to its end and returns its stdout; a failure carries the command, the last 20 lines and where the rest is. */
export async function command(file: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const shell = $({
    quiet: true,
    env: { ...process.env, PATH: programPath(), ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    input: options.input ?? "",
    ...(options.timeoutMs === undefined ? {} : { timeout: `${options.timeoutMs}ms` as const }),
  });
  try {
    const output = await shell`${[file, ...args]}`;
    if (options.logFile !== undefined) appendFileSync(options.logFile, output.stdall);
    return output.stdout;
  } catch (cause) {
    if (!(cause instanceof ProcessOutput)) throw cause;
    if (options.logFile !== undefined) appendFileSync(options.logFile, cause.stdall);
    const ending = cause.signal === null ? `exit code ${cause.exitCode}` : `signal ${cause.signal}`;
    const parts = [`\`${file} ${args.join(" ").slice(0, 300)}\` failed (${ending}).`, lastLines(cause.stdall)];
    if (options.logFile !== undefined) parts.push(`Whole log: ${options.logFile}`);
    const likely = likelyCause(basename(file), cause.stdall);
    const hint = likely?.hint ?? options.hint;
    if (hint !== undefined) parts.push(hint);
    throw new ClusterError(likely?.code ?? options.code ?? "COMMAND_FAILED", parts.filter((part) => part !== "").join("\n"), {
      cause,
    });
  }
}
