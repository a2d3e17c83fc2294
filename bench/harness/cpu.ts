import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const MS_PER_TICK = 1000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** The CPU time that processes took, all their threads, user and system. */
export class CpuMeter {
  readonly #pids: Readonly<Record<string, number>>;
  readonly #before: Readonly<Record<string, number>>;

  /** Starts to measure. */
  constructor(pids: Readonly<Record<string, number>>) {
    this.#pids = pids;
    this.#before = this.#now();
  }

  /** Milliseconds since the start, by name. */
  read(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#now()).map(([name, ms]) => [name, ms - (this.#before[name] ?? 0)]));
  }

  #now(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#pids).map(([name, pid]) => [name, cpuMs(pid)]));
  }
}

function cpuMs(pid: number): number {
  // The name in brackets may hold anything, spaces too.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

export interface Memory {
  /** All that is in memory of it, in bytes. */
  readonly resident: number;
  /** Without the pages of files: those of the Node binary, some 45 MB, are one copy for all processes of a machine, and the kernel may drop them. */
  readonly own: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const bytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1024;
  return { resident: bytes("VmRSS"), own: bytes("RssAnon") };
}
