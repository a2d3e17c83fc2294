import { hostname, userInfo } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { errorText, isMillraceError } from "../../libs/contract/errors.ts";
import { parseDurationMs } from "../../libs/contract/units.ts";
import { openSession, type Session, type Target } from "./session.ts";

/** 0 = done (with --wait: succeeded) · 1 = it failed, was refused, or is unknown · 2 = wrong usage · 3 = Millrace cannot be reached */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3 } as const;
const UNREACHABLE = new Set([
  "NATS_UNREACHABLE",
  "NATS_NOT_READY",
  "KUBE_UNREACHABLE",
  "CONTEXT_UNKNOWN",
  "NOT_INSTALLED",
  "NATS_TOO_OLD",
  "MONITOR_UNREACHABLE",
]);

export type Output = "text" | "json";

/** stdout is data, stderr is progress. */
export const print = (line: string): void => void process.stdout.write(`${line}\n`);
export const progress = (line: string): void => void process.stderr.write(`${line}\n`);
export const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2));

/** A command that reaches an installation. */
export function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option("--server <url>", "address of NATS; without it, a port-forward through Kubernetes").env("NATS_URL"))
    .addOption(new Option("--kubeconfig <file>", "kubeconfig (default: as kubectl finds it)"))
    .addOption(new Option("--context <name>", "kube context (default: the current one)").env("MILLRACE_CONTEXT"))
    .addOption(new Option("-n, --namespace <name>", "namespace of the release").env("MILLRACE_NAMESPACE").default("millrace"))
    .addOption(new Option("--release <name>", "name of the Helm release").env("MILLRACE_RELEASE").default("millrace"))
    .exitOverride(exitWithUsage);
}

export function exitWithUsage(error: { readonly exitCode: number }): never {
  process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage);
}

export const queueOption = (): Option => new Option("-q, --queue <name>", "the queue, when the id is on several");
export const outputOption = (): Option => new Option("-o, --output <format>").choices(["text", "json"]).default("text");

/** Runs over one connection and turns its failure into an exit code and a line. */
export async function inSession(target: Target, work: (session: Session) => Promise<number>): Promise<void> {
  try {
    await using session = await openSession(target);
    process.exitCode = await work(session);
  } catch (error) {
    const code = isMillraceError(error) ? error.code : "FAILED";
    progress(`${code}: ${errorText(error)}`);
    process.exitCode = UNREACHABLE.has(code) ? EXIT.unreachable : EXIT.failed;
  }
}

export function duration(text: string): number {
  const ms = parseDurationMs(text);
  if (ms <= 0) throw new InvalidArgumentError("give a duration such as 30s or 10m");
  return ms;
}

/** A time, or how long ago it was. */
export function moment(text: string): string {
  const agoMs = parseDurationMs(text);
  const atMs = agoMs > 0 ? Date.now() - agoMs : Date.parse(text);
  if (Number.isNaN(atMs)) throw new InvalidArgumentError("give a duration such as 1h, or a time such as 2026-01-31T12:00:00Z");
  return new Date(atMs).toISOString();
}

export function positive(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError("give a whole number from 1 on");
  return number;
}

/** Who asks, for the job's reason and for a pause. A container's user may have no name. */
export function whoAsks(): string {
  let user: string;
  try {
    user = userInfo().username;
  } catch {
    user = `uid ${process.getuid?.() ?? "unknown"}`;
  }
  return `${user}@${hostname()}`.slice(0, 128);
}
