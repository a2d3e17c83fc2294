import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import { parseAckSubject } from "../../libs/contract/source.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { poll } from "../../scripts/cluster/polling.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs, only } from "../harness/jobs.ts";
import { blocked, rigVariables, rollOut } from "../harness/rigged-services.ts";
import { leader, type ServiceProcess, serviceProcesses } from "../harness/service-processes.ts";

/** The ids of another run on a cluster that was kept are other jobs. */
const RUN = Date.now().toString(36);
const SOAK = process.env["SOAK"] === "1";
const ROUNDS = SOAK ? 2 : 1;
const LOAD = SOAK ? 20 : 5;
/** One kubelet starts about four pods a second; `make bench` has ten thousand, on nodes that are none. */
const BURST = SOAK ? 1_000 : 60;
/** Longer than the lease of a message and than the Lease (15 s each); the kubelet ends a process that is silent for 25 s or more. */
const SILENT_MS = SOAK ? 60_000 : 18_000;
const ACK_WAIT_MS = 15_000;
/** At most, while services are replaced. */
const PRODUCED = SOAK ? 600 : 60;
const TEN_MINUTES_MS = 600_000;
const RUN_AT_MS = 8_000;

let millrace: Installation;
let jobs: Jobs;
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "svc");
});
/** Whatever failed in between: the suites that follow share the installation. */
afterAll(async () => {
  await rollOut(millrace, "as-installed");
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

const many = (name: string, count: number, script = "sleep 2") =>
  Array.from({ length: count }, (_, index) => jobs.message(`fault-svc-${RUN}-${name}-${index}`, script));

/** From when a message was stored until its Job was made, by the clocks of NATS and the API server. */
async function waitedMs(id: string): Promise<number> {
  const { metadata } = only(await millrace.jobs(id));
  const { storedAt } = parseAckSubject(metadata?.annotations?.[ANNOTATION.ack] ?? "") ?? { storedAt: "0" };
  return Date.parse(String(metadata?.creationTimestamp)) - Number(storedAt) / 1e6;
}

/** Messages come in all the while that every pod is replaced. */
async function upgradeUnderLoad(name: string, variables: Parameters<typeof rollOut>[1]): Promise<void> {
  const load = FaultLoad.begin({ millrace, jobs });
  const done = new AbortController();
  const producing = (async () => {
    for (let index = 0; index < PRODUCED && !done.signal.aborted; index += 1) {
      await load.add(jobs.message(`fault-svc-${RUN}-${name}-${index}`, "sleep 2"));
      await pause(500, done.signal);
    }
  })();
  load.healing();
  await rollOut(millrace, variables);
  done.abort();
  await producing;
  await load.expectEachOnce({
    fault: "services: rolling upgrade",
    what: "all pods of dispatcher and monitor were replaced while messages came in; none had to wait until a lease ran out",
  });
  expect(Math.max(...(await Promise.all(load.ids.map(waitedMs))))).toBeLessThan(ACK_WAIT_MS);
}

it("R20: an upgrade that changes every pod", async () => {
  const dispatcher = rigVariables({ clockMs: TEN_MINUTES_MS });
  const monitor = rigVariables({ clockMs: -TEN_MINUTES_MS });
  await upgradeUnderLoad("upgrade", { dispatcher, monitor });
});

describe("from here on the dispatchers' clock is ten minutes ahead, and the monitors' ten behind", () => {
  it.concurrent("S6: what sleeps wakes neither early nor late", async () => {
    const runAtMs = Date.now() + RUN_AT_MS;
    const later = { id: `fault-svc-${RUN}-later`, template: "exit", params: { code: 0 }, runAt: new Date(runAtMs).toISOString() };
    const retried = many("retried", 3, '[ "$MILLRACE_ATTEMPT" = 3 ] || exit 1');
    const load = FaultLoad.begin({ millrace, jobs });
    load.healing();
    await Promise.all([...retried, later].map((message) => load.add(message)));
    await load.expectEachOnce({
      fault: "services: clocks wrong by ten minutes",
      what: "retries and a delayed start came at their time: it is NATS' clock that counts",
    });
    const createdMs = async (id: string, attempt: number): Promise<number> => {
      const found = (await millrace.jobs(id)).find(({ metadata }) => metadata?.labels?.[LABEL.attempt] === String(attempt));
      return Date.parse(String(found?.metadata?.creationTimestamp));
    };
    // The API server writes whole seconds.
    expect(await createdMs(later.id, 1)).toBeGreaterThanOrEqual(runAtMs - 1_000);
    for (const { id } of retried) {
      const ending = await jobs.end(id, ["exit", "exit", "succeeded"]);
      const endedMs = Date.parse(String(ending.record.attempts[1]?.endedAt));
      expect((await createdMs(id, 3)) - endedMs, id).toBeGreaterThanOrEqual(1_000);
    }
  });

  it.concurrent(`${BURST} messages at once, after nothing for a while`, async () => {
    const messages = Array.from({ length: BURST }, (_, index) => ({
      id: `fault-svc-${RUN}-burst-${index}`,
      template: "exit",
      params: { code: 0 },
    }));
    const load = FaultLoad.begin({ millrace, jobs });
    load.healing();
    // A client gives up what is not answered for seconds.
    for (let from = 0; from < BURST; from += 500) {
      await Promise.all(messages.slice(from, from + 500).map((message) => load.add(message)));
    }
    await load.expectEachOnce({ fault: "services: a burst after silence", what: `${BURST} messages at once` });
  });
});

/** Half of the jobs run when it begins, half are published while it lasts. Resolves when it is over, and with what has to heal. */
async function duringSilence(name: string, silence: () => Promise<void>): Promise<FaultLoad> {
  const load = FaultLoad.begin({ millrace, jobs });
  const [running, fresh] = [many(`${name}-running`, LOAD, "sleep 8"), many(`${name}-fresh`, LOAD)];
  await Promise.all(running.map((message) => load.add(message)));
  await load.seen("started", LOAD);
  load.healing();
  const over = silence();
  await Promise.all(fresh.map((message) => load.add(message)));
  await over;
  return load;
}

/** SIGSTOP; in a long round the kubelet may have ended the process meanwhile. */
async function frozen({ pid }: ServiceProcess, until: () => Promise<unknown>): Promise<void> {
  process.kill(pid, "SIGSTOP");
  try {
    await until();
  } finally {
    if (existsSync(`/proc/${pid}`)) process.kill(pid, "SIGCONT");
  }
}

async function leadingMonitor(): Promise<ServiceProcess> {
  const holder = await leader(millrace);
  return only((await serviceProcesses(millrace, "monitor")).filter(({ pod }) => pod === holder));
}

async function anyDispatcher(): Promise<ServiceProcess> {
  const [first] = await serviceProcesses(millrace, "dispatcher");
  if (first === undefined) throw new Error("there is no dispatcher");
  return first;
}

const silence = (): Promise<void> => pause(SILENT_MS, new AbortController().signal);
async function anotherLeads({ pod }: ServiceProcess): Promise<void> {
  const other = async (): Promise<true | undefined> => ((await leader(millrace)) === pod ? undefined : true);
  await poll(other, { what: "another leader", deadlineMs: 120_000, intervalMs: 500 });
  if (SOAK) await silence();
}

const rounds = Array.from({ length: ROUNDS }, (_, round) => String(round));

describe.each(rounds)("silent for longer than leases last (%s)", (round) => {
  it.concurrent("the leading monitor is stopped, another leads, and it comes back", async () => {
    const victim = await leadingMonitor();
    const load = await duringSilence(`stop-monitor-${round}`, () => frozen(victim, () => anotherLeads(victim)));
    await load.expectEachOnce({
      fault: "monitor: the leader stopped (SIGSTOP) and continued",
      what: "another led when the Lease had run out; the old one came back and did no harm",
    });
  });

  it.concurrent("the event loop of a dispatcher is blocked", async () => {
    const victim = await anyDispatcher();
    const load = await duringSilence(`block-dispatcher-${round}`, () => blocked(victim, silence));
    await load.expectEachOnce({
      fault: "dispatcher: event loop blocked",
      what: "what it had pulled was delivered to another when its leases had run out; it made none of it again",
    });
  });
});

describe.each(rounds)("the other way round (%s)", (round) => {
  it.concurrent("a dispatcher is stopped, and comes back", async () => {
    const victim = await anyDispatcher();
    const load = await duringSilence(`stop-dispatcher-${round}`, () => frozen(victim, silence));
    await load.expectEachOnce({
      fault: "dispatcher: stopped (SIGSTOP) and continued",
      what: "what it had pulled was delivered to another when its leases had run out; it made none of it again",
    });
  });

  it.concurrent("the event loop of the leading monitor is blocked, and another leads", async () => {
    const victim = await leadingMonitor();
    const load = await duringSilence(`block-monitor-${round}`, () => blocked(victim, () => anotherLeads(victim)));
    await load.expectEachOnce({
      fault: "monitor: the leader's event loop blocked",
      what: "another led when the Lease had run out; the old one found its term over",
    });
  });
});

it("R20: and back again", async () => {
  await upgradeUnderLoad("back", "as-installed");
  await FaultLoad.expectNothingLeft(millrace);
});
