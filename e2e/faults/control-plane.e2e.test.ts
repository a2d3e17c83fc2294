import { readFileSync } from "node:fs";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { renewCertificate } from "../../scripts/cluster/pki.ts";
import { cutConnections } from "../harness/api-proxy.ts";
import { Etcd } from "../harness/etcd.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";
import { isListedAnew, type LogEntry, logSince } from "../harness/service-log.ts";

/** The ids of another run on a cluster that was kept are other jobs. */
const RUN = Date.now().toString(36);
const SOAK = process.env["SOAK"] === "1";
const LOAD = SOAK ? 20 : 6;
const ROUNDS = SOAK ? 2 : 1;
const rounds = Array.from({ length: ROUNDS }, (_, round) => String(round));

let millrace: Installation;
let jobs: Jobs;
let etcd: Etcd;
let layout: ClusterLayout;
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "cp");
  etcd = new Etcd(millrace.cluster);
  layout = new ClusterLayout({ name: millrace.cluster.name, stateHome: stateHome() });
});
afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

function publish(name: string, seconds = 2): Promise<FaultLoad> {
  const messages = Array.from({ length: LOAD }, (_, index) =>
    jobs.message(`fault-cp-${RUN}-${name}-${index}`, `sleep ${seconds}`),
  );
  return FaultLoad.publish({ millrace, jobs, messages });
}

/** Of the certificate that the API server shows to whoever connects. */
async function shownSerial(): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const port = Number(readFileSync(layout.gatewayPortFile, "utf8"));
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
    resolve(socket.getPeerCertificate().serialNumber);
    socket.destroy();
  });
  socket.on("error", reject);
  return promise;
}

/** What monitors say of Jobs whose watch could not go on: they were told 410, or had heard nothing for so long that they did not ask. */
async function beganAnew(sinceMs: number): Promise<LogEntry[]> {
  const ofJobs = (await logSince(millrace, "monitor", sinceMs)).filter(({ path }) => path?.endsWith("/jobs"));
  return ofJobs.filter((entry) => isListedAnew(entry) || entry.problem?.includes("too old resource version"));
}

it.each(rounds)(
  "the API server takes a new certificate: connections from before go on, new ones accept it (%s)",
  async (round) => {
    const load = await publish(`certificate-${round}`);
    await load.seen("created", 1);
    const before = await shownSerial();
    await renewCertificate(layout, "apiserver", 1_000 + Date.now());
    await expect.poll(shownSerial, { timeout: 120_000 }).not.toBe(before);
    await cutConnections(millrace);
    load.healing();
    await load.expectEachOnce({
      fault: "API server: certificate rotated",
      what: "every connection was closed; the new ones were made with the new certificate",
    });
  },
);

it.each(rounds)(
  "D8: etcd is full: nothing can be created, and all that was published waits until there is room (%s)",
  async (round) => {
    await etcd.setNoSpace(true);
    const load = await publish(`space-${round}`);
    const blocked = await load.seen("blocked", LOAD).finally(() => etcd.setNoSpace(false));
    load.healing();
    for (const { data } of blocked) expect(data["reason"]).toContain("database space exceeded");
    await load.expectEachOnce({
      fault: "etcd: NOSPACE alarm",
      what: "the API server answered 500 to every write; each message was held",
    });
  },
);

it.each(rounds)(
  "410: the API server dies, etcd forgets all history, and the watches begin anew with a list (%s)",
  async (round) => {
    const load = await publish(`compaction-${round}`);
    await load.seen("created", 1);
    const killedMs = Date.now();
    process.kill(Number(/\d+/.exec(readFileSync(layout.pidFile("apiserver"), "utf8"))?.[0]), "SIGKILL");
    await etcd.compact();
    await millrace.cluster.up();
    load.healing();
    await load.expectEachOnce({
      fault: "etcd: compaction while the API server is away",
      what: "there was no history to go on from: whoever watched began anew with a list",
    });
    await expect.poll(() => beganAnew(killedMs), { timeout: 60_000, interval: 1_000 }).not.toEqual([]);
    await FaultLoad.expectNothingLeft(millrace);
  },
);
