import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { jobsPath } from "../../libs/kube/jobs-api.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { ApiProxy } from "../harness/api-proxy.ts";
import type { Exchange } from "../harness/api-proxy-process.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs } from "../harness/jobs.ts";
import { isListedAnew, logSince } from "../harness/service-log.ts";
import { serviceProcesses } from "../harness/service-processes.ts";

/** The ids of another run on a cluster that was kept are other jobs. */
const RUN = Date.now().toString(36);
const SOAK = process.env["SOAK"] === "1";
const LOAD = SOAK ? 20 : 6;
const ROUNDS = SOAK ? 2 : 1;
const SLOW_MS = SOAK ? 30_000 : 3_000;
const RETRY_AFTER_SECONDS = 2;
const PAUSE_MS = RETRY_AFTER_SECONDS * 1000;
const [OTHER_NAMESPACE = ""] = testProfile.extraNamespaces;
const TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token";

let millrace: Installation;
let jobs: Jobs;
let elsewhere: Jobs;
let api: ApiProxy;
let unseen: FaultLoad;

/** The watch of one namespace falls silent first: it takes a minute until somebody doubts it, and the other faults do not mind. */
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "api");
  elsewhere = await Jobs.open(millrace, "apib", OTHER_NAMESPACE);
  api = await ApiProxy.open(millrace);
  const messages = many("silent", 3, 8, elsewhere);
  unseen = await FaultLoad.publish({ millrace, jobs: elsewhere, messages, queue: "elsewhere" });
  await unseen.seen("started", messages.length);
  api.silenceWatches(`/namespaces/${OTHER_NAMESPACE}/`);
  unseen.healing();
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  await jobs[Symbol.asyncDispose]();
  await elsewhere[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

const many = (name: string, count: number, seconds: number, by = jobs) =>
  Array.from({ length: count }, (_, index) => by.message(`fault-api-${RUN}-${name}-${index}`, `sleep ${seconds}`));
const publish = (name: string, count = LOAD): Promise<FaultLoad> =>
  FaultLoad.publish({ millrace, jobs, messages: many(name, count, 2) });
const isCreate = ({ method, path }: Exchange): boolean => method === "POST" && path.endsWith("/jobs");
const rounds = Array.from({ length: ROUNDS }, (_, round) => String(round));

it.each(rounds)(`D7: an API server that answers after ${SLOW_MS / 1000} s, when all is done (%s)`, async (round) => {
  api.set({ kind: "slow", ms: SLOW_MS });
  const answered = api.next("creation", LOAD, isCreate, 600_000);
  const load = await publish(`slow-${round}`);
  const creations = await answered;
  api.set({ kind: "none" });
  load.healing();
  expect(Math.min(...creations.map(({ beganMs, endedMs }) => endedMs - beganMs))).toBeGreaterThanOrEqual(SLOW_MS - 5);
  await load.expectEachOnce({
    fault: "API server: slow",
    what: `every answer came after ${SLOW_MS / 1000} s; what was made meanwhile is not made again`,
  });
});

it.each(rounds)(`D8: 429 with Retry-After for every creation: nobody asks again before (%s)`, async (round) => {
  api.set({ kind: "refuse", status: 429, creates: true, retryAfterSeconds: RETRY_AFTER_SECONDS });
  const from = api.exchanges.length;
  const refused = api.next("refusal", LOAD + 4, isCreate);
  const load = await publish(`429-${round}`);
  await refused;
  api.set({ kind: "none" });
  load.healing();
  const creations = api.exchanges.slice(from).filter(isCreate);
  for (const [client, asked] of Map.groupBy(creations, (creation) => creation.client)) {
    const firstMs = Math.min(...asked.map(({ endedMs }) => endedMs));
    // Some were on their way when the first answer came.
    const volley = asked.filter(({ beganMs }) => beganMs < firstMs + PAUSE_MS / 2);
    const later = asked.filter((creation) => !volley.includes(creation)).map(({ beganMs }) => beganMs);
    const pauses = later.map((beganMs, index) => beganMs - (later[index - 1] ?? firstMs));
    expect(Math.min(...pauses), client).toBeGreaterThanOrEqual(PAUSE_MS - 5);
  }
  await load.expectEachOnce({
    fault: "API server: 429 with Retry-After",
    what: `each creation was refused; each dispatcher went on with one at a time, every ${RETRY_AFTER_SECONDS} s`,
  });
});

it.each(rounds)("D7: each creation is carried out, and the connection is reset before the answer (%s)", async (round) => {
  api.set({ kind: "lose-creates" });
  const lost = api.next("creation without an answer", LOAD, (exchange) => isCreate(exchange) && exchange.status === 0);
  const load = await publish(`lost-${round}`);
  await lost;
  api.set({ kind: "none" });
  load.healing();
  await load.expectEachOnce({
    fault: "API server: connection reset after commit",
    what: "every Job was made, every answer was lost; each was found by its name, none was made twice",
  });
});

it.each(rounds)("watches are cut again and again while jobs come, and each goes on from where it was (%s)", async (round) => {
  const opened = ({ watch, status }: Exchange): boolean => watch && status === 200;
  const load = await publish(`cut-${round}`);
  await load.seen("created", LOAD);
  const cutMs = Date.now();
  for (const [index, message] of many(`cut-more-${round}`, SOAK ? 20 : 4, 2).entries()) {
    const again = api.next("watch", 8, opened);
    api.cutWatches();
    await Promise.all([again, load.add(message)]);
    // Seen by one that goes on, which so has heard of something lately: a watch may begin anew when it has heard nothing for long.
    await load.seen("created", LOAD + index + 1);
  }
  load.healing();
  await load.expectEachOnce({ fault: "API server: watches cut", what: "each was resumed from where it was" });
  const ofJobs = (await logSince(millrace, "monitor", cutMs)).filter(
    ({ path }) => path === jobsPath(millrace.names.jobsNamespace),
  );
  expect(ofJobs.filter(isListedAnew)).toEqual([]);
});

it.each(rounds)("D8: 503 for everything, and the watches are cut (%s)", async (round) => {
  const load = await publish(`503-${round}`);
  await load.seen("created", 1);
  api.set({ kind: "refuse", status: 503, creates: false });
  api.cutWatches();
  await api.next("503", SOAK ? 200 : 20, ({ status }) => status === 503);
  api.set({ kind: "none" });
  load.healing();
  await load.expectEachOnce({
    fault: "API server: 503 for everything, watches cut",
    what: "what had been published waited; who watches began anew",
  });
});

it("the kubelet starts anew and hands out new tokens; the API server takes the old ones no more", async () => {
  const processes = (await Promise.all([serviceProcesses(millrace, "dispatcher"), serviceProcesses(millrace, "monitor")])).flat();
  const tokens = (): string[] => processes.map(({ pid }) => readFileSync(`/proc/${pid}/root${TOKEN_FILE}`, "utf8").trim());
  const before = tokens();
  const layout = new ClusterLayout({ name: millrace.cluster.name, stateHome: stateHome() });
  process.kill(Number(/\d+/.exec(readFileSync(layout.pidFile("kubelet"), "utf8"))?.[0]), "SIGKILL");
  await millrace.cluster.up();
  await expect.poll(() => tokens().filter((token) => before.includes(token)), { timeout: 120_000 }).toEqual([]);
  // They know their tokens by heart for a minute: whoever asks before has an old one.
  const refused = api.next("401", 1, ({ status }) => status === 401);
  api.set({ kind: "revoke-tokens", tokens: before });
  api.cutWatches();
  const [load] = await Promise.all([publish("token"), refused]);
  load.healing();
  await load.expectEachOnce({
    fault: "API server: tokens rotated",
    what: "the kubelet died and handed out new tokens, the watches were cut, and the old tokens got 401: each service read its own anew and asked again",
  });
  expect(load.count("blocked")).toBe(0);
});

it("silently half-open watches: whoever hears nothing for longer than the server keeps a watch asks again", async () => {
  await unseen.expectEachOnce({
    fault: "API server: watches half-open",
    what: "the ends of jobs were not seen until the watchdog closed the silent connections",
  });
  await FaultLoad.expectNothingLeft(millrace);
});
