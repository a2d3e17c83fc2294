import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, expect, it } from "vitest";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { poll } from "../../scripts/cluster/polling.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";
import { NatsTrio, SERVICES_USER, type ServerName } from "../harness/nats-trio.ts";
import { TestRelease } from "../harness/release.ts";

const SOAK = process.env["SOAK"] === "1";
const STRIKES = SOAK ? 10 : 2;
const LOAD = SOAK ? 100 : 6;
/** Of a test, whose jobs share two cores with two more suites, and of the starts of its pods. */
const LIMIT_MS = SOAK ? 0 : 900_000;
const STARTS_LIMIT_MS = 300_000;
/** Asleep for certain when it is purged. */
const SLEEP = "10s";

const names = { release: "trio", namespace: "trio", jobsNamespace: "trio" } as const;
const SECRET = "trio-nats";
/** Fails once: what a fault must not take away is its message. */
const SECOND_TIME = (seconds: number): string => `sleep ${seconds}; [ "$MILLRACE_ATTEMPT" -gt 1 ]`;

let trio: NatsTrio;
let release: TestRelease;
let millrace: Installation;
let manager: JetStreamManager;
let jobs: Jobs;

/** A release of its own, with three servers of the tests' own for a NATS. */
beforeAll(async () => {
  const cluster = new LocalCluster({ name: testProfile.cluster, progress: () => {} });
  trio = await NatsTrio.start(cluster);
  release = new TestRelease({ cluster, names });
  await release.createNamespaces();
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: SECRET, namespace: names.namespace } };
  const stringData = { password: SERVICES_USER.password };
  await release.kubectl(["apply", "-f", "-"], JSON.stringify({ ...secret, stringData }));
  await release.upgrade({
    "nats.enabled": false,
    "nats.external": { url: trio.url, streamReplicas: 3 },
    "nats.auth": { existingSecret: SECRET, user: SERVICES_USER.user, passwordKey: "password" },
    "nats.maxFileStore": "1Gi",
    "queues.safe.retry.backoff": { initial: SLEEP, max: SLEEP },
  });
  millrace = await Installation.open(names, trio.outsideUrl);
  manager = await jetstreamManager(millrace.connection);
  jobs = await Jobs.open(millrace, "trio");
});

afterAll(async () => {
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
  // While NATS is there: the services hand back what they hold before they go.
  await release.uninstall();
  await Promise.all([release.deleteNamespaces(), trio[Symbol.asyncDispose]()]);
});

const many = (name: string, count: number, script: string) =>
  Array.from({ length: count }, (_, index) => jobs.message(`trio-${name}-${index}`, script));

const publish = (queue: string, messages: readonly { readonly id: string }[]): Promise<FaultLoad> =>
  FaultLoad.publish({ millrace, jobs, messages, queue });

/** Just after a strike there may be none. */
function leaderOf(stream: string, except?: ServerName): Promise<string> {
  const found = async (): Promise<string | undefined> => {
    const leader = (await manager.streams.info(stream).catch(() => undefined))?.cluster?.leader;
    return leader === "" || leader === except ? undefined : leader;
  };
  return poll(found, { what: `a leader of ${stream}`, deadlineMs: 60_000 });
}

it(`D2, S1-S4: of three NATS servers the leaders are killed ${STRIKES} times`, { timeout: LIMIT_MS }, async () => {
  const load = await publish("small", many("leader", LOAD, SECOND_TIME(2)));
  await load.seen("started", 2, STARTS_LIMIT_MS);
  const whom = [() => trio.metaLeader(), () => leaderOf(STREAM.jobs), () => leaderOf("KV_millrace_jobs")] as const;
  for (let strike = 0; strike < STRIKES; strike += 1) {
    const victim = (await whom[strike % whom.length]?.()) as ServerName;
    await trio.strike(victim, async () => {
      await expect.poll(() => trio.metaLeader(), { timeout: 60_000 }).not.toBe(victim);
      for (const stream of [STREAM.jobs, STREAM.events, "KV_millrace_jobs"]) await leaderOf(stream, victim);
      load.healing();
    });
  }
  await load.expectEachOnce({
    fault: "NATS: leaders killed",
    what: `of three servers the one that led all, or JOBS, or the records, was killed with SIGKILL, ${STRIKES} times; another led at once`,
  });
});

it("S1-S4: consumers are deleted, and JOBS, RETRY and EVENTS purged, under jobs that run and sleep", {
  timeout: LIMIT_MS,
}, async () => {
  const [held, bare, sleeping, told] = await Promise.all([
    publish("small", many("consumer", 4, SECOND_TIME(3))),
    publish("four", many("jobs", 4, SECOND_TIME(15))),
    publish("safe", many("retry", 4, SECOND_TIME(0))),
    publish("default", many("events", 4, SECOND_TIME(15))),
  ]);
  const struck = async (load: FaultLoad, strike: () => Promise<unknown>): Promise<void> => {
    await load.seen("started", load.ids.length, STARTS_LIMIT_MS);
    await strike();
    load.healing();
  };
  // Each job by itself, at its own moment: on a busy machine the last pod starts when the first has ended.
  const struckEach = async (load: FaultLoad, queue: string, kind: string, strike: (hash: string) => Promise<unknown>) => {
    const each = async (id: string): Promise<void> => {
      const hash = millrace.hash(id, queue);
      const isMeant = (event: { readonly hash: string; readonly kind: string }): boolean =>
        event.hash === hash && event.kind === kind;
      await millrace.events.waitFor(`${kind} of ${id}`, isMeant, 1, STARTS_LIMIT_MS);
      await strike(hash);
    };
    await Promise.all(load.ids.map(each));
    load.healing();
  };
  const purge = async (stream: string, filter: string): Promise<void> => {
    const { purged } = await manager.streams.purge(stream, { filter });
    expect(purged, `what ${filter} took from ${stream}`).toBeGreaterThan(0);
  };
  const consumers = () => [STREAM.jobs, STREAM.retry].map((stream) => manager.consumers.delete(stream, consumerName("small")));
  await Promise.all([
    struck(held, () => Promise.all(consumers())),
    struck(bare, () => purge(STREAM.jobs, "jobs.four.>")),
    struckEach(sleeping, "safe", "retrying", (hash) => purge(STREAM.retry, `retry.at.${hash}.>`)),
    struckEach(told, "default", "started", (hash) => purge(STREAM.events, `events.default.${hash}.>`)),
  ]);
  await held.expectEachOnce({
    fault: "NATS: consumers deleted",
    what: "both consumers of a queue were deleted while its Jobs ran; the leader made them anew",
  });
  const what = "was purged by hand";
  await bare.expectEachOnce({ fault: "NATS: JOBS purged", what: `${what} while Jobs ran; their retries were made of EVENTS` });
  await sleeping.expectEachOnce({ fault: "NATS: RETRY purged", what: `${what} while retries slept; the sweep put them back` });
  await told.expectEachOnce({
    fault: "NATS: EVENTS purged",
    what: `${what} while Jobs ran; what is missing of them is written again`,
  });
});

it("the services may not publish retries and acknowledgements for a while: they say so, and go on when they may", {
  timeout: LIMIT_MS,
}, async () => {
  const saysSo = async (): Promise<number> =>
    (await millrace.logLines("monitor")).filter((line) => /permission/i.test(line)).length;
  const before = await saysSo();
  const load = await publish("default", many("denied", 4, SECOND_TIME(5)));
  await load.seen("started", 4, STARTS_LIMIT_MS);
  trio.deny(["retry.>", "$JS.ACK.>"]);
  await expect.poll(saysSo, { timeout: 120_000, interval: 1_000 }).toBeGreaterThan(before);
  trio.deny([]);
  load.healing();
  await load.expectEachOnce({
    fault: "NATS: permissions revoked",
    what: "the services' user might not publish to `retry.>` and `$JS.ACK.>`: no retry was made, and the monitor's log said why",
  });
});

it("the services' password is refused until they have been started anew, which reads it again", {
  timeout: LIMIT_MS,
}, async () => {
  const load = await publish("default", many("locked", 4, SECOND_TIME(20)));
  await load.seen("started", 4, STARTS_LIMIT_MS);
  const before = await millrace.restarts();
  trio.admit(false);
  await expect.poll(() => millrace.restarts(), { timeout: 300_000, interval: 2_000 }).toBeGreaterThanOrEqual(before + 4);
  trio.admit(true);
  load.healing();
  await load.expectEachOnce({
    fault: "NATS: password refused",
    what: "the services' password was another than theirs until all of them had been started anew",
  });
});

it("leaves nothing behind", () => FaultLoad.expectNothingLeft(millrace));
