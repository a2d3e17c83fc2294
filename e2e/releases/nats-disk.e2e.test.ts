import { statfsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";
import { LocalVolume } from "../harness/local-volume.ts";
import { SMALL, TestRelease } from "../harness/release.ts";

const LOAD = process.env["SOAK"] === "1" ? 40 : 4;
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
}, 300_000);

afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
  await release.uninstall();
  await release.deleteNamespaces();
  await disk.remove((args, input) => release.kubectl(args, input));
}, 180_000);

it("NATS' disk is full while jobs run and fail: nothing is accepted, and when there is room all goes on", async () => {
  const script = 'sleep 4; [ "$MILLRACE_ATTEMPT" -gt 1 ]';
  const messages = Array.from({ length: LOAD }, (_, index) => jobs.message(`full-${index}`, script));
  const load = await FaultLoad.publish({ millrace, jobs, messages });
  await load.seen("started", LOAD);
  const filler = join(disk.folder, "filler");
  const { bavail, bsize } = statfsSync(disk.folder);
  // More than there is: every byte that NATS frees later is taken as well.
  await expect(writeFile(filler, Buffer.alloc(bavail * bsize + 1_048_576))).rejects.toThrow(/ENOSPC/);
  const body = Buffer.alloc(100_000, " ").toString();
  const refused = (): Promise<string> =>
    millrace.publish("jobs.default.full", `{"id":"never"${body}`).then(
      () => "stored",
      () => "refused",
    );
  await expect.poll(refused, { timeout: 120_000 }).toBe("refused");
  await rm(filler);
  load.healing();
  await load.expectEachOnce({
    fault: "NATS: disk full",
    what: "the disk of the one server was full: the stream that met it refused all writes until the liveness probe had the server started anew; what had been held then was delivered again",
  });
  const message = jobs.message("full-after", "true");
  const headers = { "Nats-Msg-Id": message.id };
  const accepted = (): Promise<string> =>
    jobs.publish(message.id, message, { headers }).then(
      () => "stored",
      () => "refused",
    );
  await expect.poll(accepted, { timeout: 120_000, interval: 1_000 }).toBe("stored");
  await jobs.end(message.id, ["succeeded"]);
});

it("leaves nothing behind", () => FaultLoad.expectNothingLeft(millrace));
