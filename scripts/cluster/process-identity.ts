import { readFileSync } from "node:fs";

/**
 * A pid alone names whichever process has it today. With the kernel's start time and the boot it counts from,
 * it names one process for ever, so a stale pid file can never get an innocent process killed.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

interface ProcessStat {
  readonly state: string;
  readonly parentPid: number;
  readonly startTicks: string;
}

/** The command name may hold spaces and parentheses, so fields are counted from the last ")". */
export function parseProcessStat(stat: string): ProcessStat | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent] = fields;
  const startTicks = fields[19];
  if (
    !stat.includes(")") ||
    state === undefined ||
    parent === undefined ||
    startTicks === undefined ||
    !/^\d+$/.test(startTicks)
  ) {
    return undefined;
  }
  return { state, parentPid: Number(parent), startTicks };
}

export function readProcessStat(pid: number): ProcessStat | undefined {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined;
  }
}

export function readBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

export function formatIdentity(identity: ProcessIdentity): string {
  return `${identity.pid} ${identity.startTicks} ${identity.bootId}\n`;
}

export function parseIdentity(text: string): ProcessIdentity | undefined {
  const match = /^(\d+) (\d+) ([0-9a-f-]+)\s*$/.exec(text);
  const [, pid, startTicks, bootId] = match ?? [];
  return pid === undefined || startTicks === undefined || bootId === undefined
    ? undefined
    : { pid: Number(pid), startTicks, bootId };
}

export function identityOf(pid: number): ProcessIdentity | undefined {
  const stat = readProcessStat(pid);
  return stat === undefined ? undefined : { pid, startTicks: stat.startTicks, bootId: readBootId() };
}

/** A zombie is dead here: it holds no resource, and only its parent can make it go. */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.bootId !== readBootId()) return false;
  const stat = readProcessStat(identity.pid);
  return stat !== undefined && stat.startTicks === identity.startTicks && stat.state !== "Z" && stat.state !== "X";
}

/** ESRCH is the wished end state; anything else (EPERM) is worth hearing about. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
