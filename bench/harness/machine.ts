import { execFileSync } from "node:child_process";
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { binaryVersion } from "../../scripts/cluster/binaries.ts";
import { quantile } from "./rounds.ts";

const SYNCS = 200;

/** What the figures depend on. `disk` is a folder on the disk that etcd and NATS write to. */
export function machineFacts(disk: string): Record<string, string> {
  const sync = syncLatencies(disk);
  const ms = (q: number): string => `${quantile(sync, q).toFixed(2)} ms`;
  return {
    Cores: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, shared by everything that is measured and by what measures`,
    Memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    Kernel: release(),
    "Disk flush (4 KiB + fdatasync)": `p50 ${ms(0.5)}, p99 ${ms(0.99)}`,
    "Load average at the end": loadavg()[0]?.toFixed(1) ?? "",
    Kubernetes: `${binaryVersion("kubernetes")}, one node`,
    etcd: `${/etcd Version: (\S+)/.exec(execFileSync("etcd", ["--version"], { encoding: "utf8" }))?.[1] ?? "unknown"}, flushes each write`,
    NATS: `${binaryVersion("nats-server")}, sync_interval: always`,
    Node: process.version,
  };
}

function syncLatencies(disk: string): number[] {
  const folder = mkdtempSync(join(disk, "sync-"));
  const file = openSync(join(folder, "probe"), "w");
  const block = Buffer.alloc(4096, 1);
  try {
    return Array.from({ length: SYNCS }, () => {
      const startedMs = performance.now();
      writeSync(file, block);
      fdatasyncSync(file);
      return performance.now() - startedMs;
    });
  } finally {
    closeSync(file);
    rmSync(folder, { recursive: true });
  }
}
