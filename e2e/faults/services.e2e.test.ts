import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ANNOTATION, LABEL } from "../../libs/contract/names.ts";
import { type DeliveryInfo, parseDelivery } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { pause } from "../../libs/runtime/backoff.ts";
import { poll } from "../../scripts/cluster/polling.ts";
import { FaultLoad } from "../harness/fault-load.ts";
import { HandedBack } from "../harness/handed-back.ts";
import { Installation } from "../harness/installation.ts";
import { Jobs, only } from "../harness/jobs.ts";
import { blocked, frozen, RiggedServices } from "../harness/rigged-services.ts";
import { leader, leadingMonitor, type ServiceProcess, serviceProcesses } from "../harness/service-processes.ts";

/** The ids of another run on a cluster that was kept are other jobs. */
const RUN = Date.now().toString(36);
const SOAK = process.env["SOAK"] === "1";
const ROUNDS = SOAK ? 2 : 1;
const LOAD = SOAK ? 20 : 5;
/** One kubelet starts about four pods a second; `make bench` has ten thousand, on nodes that are none. */
const BURST = SOAK ? 1_000 : 60;
/** What is silent stays so until others have taken over; in long rounds for this much longer. */
const SILENT_MS = 60_000;
/** At most, while services are replaced. */
const PRODUCED = SOAK ? 600 : 60;
const TEN_MINUTES_MS = 600_000;
const RUN_AT_MS = 8_000;

let millrace: Installation;
let jobs: Jobs;
let services: RiggedServices;
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "svc");
  services = await RiggedServices.open(millrace);
});
/** Whatever failed in between: the suites that follow share the installation. */
afterAll(async () => {
  await services[Symbol.asyncDispose]();
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

const many = (name: string, count: number, script = "sleep 2") =>
  Array.from({ length: count }, (_, index) => jobs.message(`fault-svc-${RUN}-${name}-${index}`, script));

/** The delivery of its message that its only Job was made of. */
async function deliveryOf(id: string): Promise<DeliveryInfo> {
  const ack = only(await millrace.jobs(id)).metadata?.annotations?.[ANNOTATION.ack] ?? "";
  const delivery = parseDelivery(ack);
  if (delivery === undefined) throw new Error(`the Job of ${id} does not say what it was made of: ${ack}`);
  return delivery;
}

/** Those that were delivered again although nobody had handed them back: they had waited until a lease ran out. */
async function waitedForLease(ids: readonly string[], handedBack: HandedBack): Promise<string[]> {
  const found = await Promise.all(
    ids.map(async (id) => {
      const { delivery, source } = await deliveryOf(id);
      return delivery - 1 > handedBack.times(source.seq) ? [id] : [];
    }),
  );
  return found.flat();
}

/** Messages come in all the while that every pod is replaced. */
async function upgradeUnderLoad(name: string, upgrade: () => Promise<void>): Promise<void> {
  using handedBack = await HandedBack.open(millrace.connection, STREAM.jobs);
  const load = FaultLoad.begin({ millrace, jobs });
  const done = new AbortController();
  const producing = async (): Promise<void> => {
    for (let index = 0; index < PRODUCED && !done.signal.aborted; index += 1) {
      await load.add(jobs.message(`fault-svc-${RUN}-${name}-${index}`, "sleep 2"));
      await pause(500, done.signal);
    }
  };
  await Promise.all([producing(), upgrade().finally(() => done.abort())]);
  load.healing();
  await load.expectEachOnce({
    fault: "services: rolling upgrade",
    what: "all pods of dispatcher and monitor were replaced while messages came in; none had to wait until a lease ran out",
  });
  expect(await waitedForLease(load.ids, handedBack)).toEqual([]);
}

it("R20: an upgrade that changes every pod", async () => {
  const rigs = { dispatcher: { clockMs: TEN_MINUTES_MS }, monitor: { clockMs: -TEN_MINUTES_MS } };
  await upgradeUnderLoad("upgrade", () => services.rig(rigs));
});

describe("from here on the dispatchers' clock is ten minutes ahead, and the monitors' ten behind", () => {
  it.concurrent("S6: what sleeps wakes neither early nor late", async () => {
    const runAtMs = Date.now() + RUN_AT_MS;
    const later = { id: `fault-svc-${RUN}-later`, template: "exit", params: { code: 0 }, runAt: new Date(runAtMs).toISOString() };
    const retried = many("retried", 3, '[ "$MILLRACE_ATTEMPT" = 3 ] || exit 1');
    const load = await FaultLoad.publish({ millrace, jobs, messages: [...retried, later] });
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

/** Half of the jobs run when it begins, half are published while it lasts. Resolves when it is over; it is healed before, by those that are left. */
async function duringSilence(name: string, silence: (load: FaultLoad) => Promise<void>): Promise<FaultLoad> {
  const load = FaultLoad.begin({ millrace, jobs });
  const [running, fresh] = [many(`${name}-running`, LOAD, "sleep 8"), many(`${name}-fresh`, LOAD)];
  await Promise.all(running.map((message) => load.add(message)));
  await load.seen("started", LOAD);
  load.healing();
  await Promise.all([silence(load), ...fresh.map((message) => load.add(message))]);
  return load;
}

/** Longer than others need to take over. */
async function inLongRoundsLonger(): Promise<void> {
  if (SOAK) await pause(SILENT_MS, new AbortController().signal);
}

/** Whoever is silent leads no more. */
async function anotherLeads({ pod }: ServiceProcess): Promise<void> {
  const other = async (): Promise<true | undefined> => !["", pod].includes(await leader(millrace)) || undefined;
  await poll(other, { what: "another leader", deadlineMs: 120_000, intervalMs: 500 });
  await inLongRoundsLonger();
}

/** Of all jobs, what the silent one has pulled too: the broker delivers that again when its leases have run out. */
async function othersMakeAll(load: FaultLoad): Promise<void> {
  await load.seen("created", 2 * LOAD);
  await inLongRoundsLonger();
}

async function anyDispatcher(): Promise<ServiceProcess> {
  const [first] = await serviceProcesses(millrace, "dispatcher");
  if (first === undefined) throw new Error("there is no dispatcher");
  return first;
}

/** It is the same process, and its pod is ready again: nobody has started another in its place. */
async function expectBack(service: "dispatcher" | "monitor", victim: ServiceProcess): Promise<void> {
  await millrace.kubectl([
    "-n",
    millrace.names.namespace,
    "wait",
    `pod/${victim.pod}`,
    "--for=condition=Ready",
    "--timeout=120s",
  ]);
  expect(await serviceProcesses(millrace, service)).toContainEqual(victim);
}

type Silence = (victim: ServiceProcess, until: () => Promise<unknown>) => Promise<void>;

async function silentLeader(
  name: string,
  silence: Silence,
  row: { readonly fault: string; readonly what: string },
): Promise<void> {
  const victim = await leadingMonitor(millrace);
  const load = await duringSilence(name, () => silence(victim, () => anotherLeads(victim)));
  await load.expectEachOnce(row);
  await expectBack("monitor", victim);
}

async function silentDispatcher(name: string, silence: Silence, fault: string): Promise<void> {
  using handedBack = await HandedBack.open(millrace.connection, STREAM.jobs);
  const victim = await anyDispatcher();
  const load = await duringSilence(name, (all) => silence(victim, () => othersMakeAll(all)));
  await load.expectEachOnce({
    fault,
    what: "what it had pulled was delivered to another when its leases had run out; it came back and made none of it again",
  });
  // The broker hands out to one after the other, so that some of it was the silent one's.
  expect(await waitedForLease(load.ids, handedBack)).not.toEqual([]);
  await expectBack("dispatcher", victim);
}

const rounds = Array.from({ length: ROUNDS }, (_, round) => String(round));

describe.each(rounds)("silent until others have taken over (%s)", (round) => {
  it.concurrent("the leading monitor is stopped, another leads, and it comes back", () =>
    silentLeader(`stop-monitor-${round}`, frozen, {
      fault: "monitor: the leader stopped (SIGSTOP) and continued",
      what: "another led when the Lease had run out; the old one came back and did no harm",
    }));

  it.concurrent("the event loop of a dispatcher is blocked", () =>
    silentDispatcher(`block-dispatcher-${round}`, blocked, "dispatcher: event loop blocked"));
});

describe.each(rounds)("the other way round (%s)", (round) => {
  it.concurrent("a dispatcher is stopped, and comes back", () =>
    silentDispatcher(`stop-dispatcher-${round}`, frozen, "dispatcher: stopped (SIGSTOP) and continued"));

  it.concurrent("the event loop of the leading monitor is blocked, and another leads", () =>
    silentLeader(`block-monitor-${round}`, blocked, {
      fault: "monitor: the leader's event loop blocked",
      what: "another led when the Lease had run out; the old one found its term over",
    }));
});

it("R20: and back again", async () => {
  await upgradeUnderLoad("back", () => services.asFound());
  await FaultLoad.expectNothingLeft(millrace);
});
