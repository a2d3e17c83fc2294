import { statfsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";
import { LocalVolume } from "../harness/local-volume.ts";
import { SMALL, TestRelease } from "../harness/release.ts";

const SOAK = process.env["SOAK"] === "1";
const LOAD = SOAK ? 40 : 4;
const LIMIT_MS = SOAK ? 0 : 900_000;
const STARTS_LIMIT_MS = 300_000;
/** Until its liveness probe has failed three times, it has ended, been started anew and been found again. */
const BACK_LIMIT_MS = 240_000;
const names = { release: "full", namespace: "full", jobsNamespace: "full" } as const;

const disk = new LocalVolume({ name: "e2e-full", node: "node0", sizeMib: 64 });
let release: TestRelease;
let millrace: Installation;
let jobs: Jobs;

/** A release of its own: its streams may grow far beyond its disk. */
beforeAll(async () => {
  const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
  release = new TestRelease({ cluster, names });
  await release.createNamespaces();
  await disk.create((args, input) => release.kubectl(args, input));
  await release.upgrade({ "nats.storage.storageClassName": disk.name, ...SMALL });
  millrace = await Installation.open(names);
  jobs = await Jobs.open(millrace, "full");
});

afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
  await release.uninstall();
  await release.deleteNamespaces();
  await disk.remove((args, input) => release.kubectl(args, input));
});

it("NATS' disk is full while jobs run and fail: nothing is accepted, and when there is room all goes on", {
  timeout: LIMIT_MS,
}, async () => {
  const script = 'sleep 4; [ "$MILLRACE_ATTEMPT" -gt 1 ]';
  const messages = Array.from({ length: LOAD }, (_, index) => jobs.message(`full-${index}`, script));
  const load = await FaultLoad.publish({ millrace, jobs, messages });
  await load.seen("started", LOAD, STARTS_LIMIT_MS);
  const filler = join(disk.folder, "filler");
  const { bavail, bsize } = statfsSync(disk.folder);
  // More than there is: every byte that NATS frees later is taken as well.
  await expect(writeFile(filler, Buffer.alloc(bavail * bsize + 1_048_576))).rejects.toThrow(/ENOSPC/);
  const body = Buffer.alloc(100_000, " ").toString();
  const isFull = async (): Promise<void> => {
    await expect(millrace.publish("jobs.default.full", `{"id":"never"${body}`)).rejects.toThrow();
    // Whoever publishes gets no answer at all, as from a server that is away: only its log says why.
    const lines = await millrace.logLines("nats");
    expect(lines.filter((line) => /stream '.* > JOBS'.*no space left on device/.test(line))).not.toEqual([]);
  };
  await vi.waitFor(isFull, { timeout: BACK_LIMIT_MS, interval: 1_000 });
  await rm(filler);
  load.healing();
  const message = jobs.message("full-after", "true");
  const headers = { "Nats-Msg-Id": message.id };
  // One that is tried again has the same name for NATS.
  await vi.waitFor(() => jobs.publish(message.id, message, { headers }), { timeout: BACK_LIMIT_MS, interval: 1_000 });
  await load.expectEachOnce({
    fault: "NATS: disk full",
    what: "the disk of the one server was full: the stream that met it answered no write until the liveness probe had the server started anew; what had been held then was delivered again",
  });
  await jobs.end(message.id, ["succeeded"]);
});

it("leaves nothing behind", () => FaultLoad.expectNothingLeft(millrace));
