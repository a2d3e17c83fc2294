import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LABEL } from "../libs/contract/names.ts";
import type { JobView, PodView } from "../libs/contract/observation.ts";
import { consumerName, queueOfConsumer, STREAM } from "../libs/contract/streams.ts";
import { ask } from "../libs/streams/request-client.ts";
import { type DeadLetter, Installation } from "./harness/installation.ts";
import { NOTHING } from "./harness/leftovers.ts";
import { LiveConfig, without } from "./harness/live-config.ts";
import { FAIL, first, LASTING, rawJob, SUCCEED } from "./harness/raw-job.ts";
import { jobsOf, Sight } from "./harness/sight.ts";

let millrace: Installation;
let config: LiveConfig;
let jobs: Sight<JobView>;
let pods: Sight<PodView>;

beforeAll(async () => {
  millrace = await Installation.open();
  config = await LiveConfig.open(millrace);
  const place = { kube: millrace.kube, namespace: millrace.names.jobsNamespace, instance: millrace.instance };
  [jobs, pods] = await Promise.all([Sight.jobs(place), Sight.pods(place)]);
});

afterAll(async () => {
  await config.restore();
  await Promise.all([jobs, pods].map((watch) => watch[Symbol.asyncDispose]()));
  await millrace[Symbol.asyncDispose]();
});

const publish = (queue: string, body: object): Promise<string> => millrace.publish(`jobs.${queue}.queues`, body);

const eventOf = (id: string, kind: string, queue: string, attempt = 1) =>
  millrace.events.waitFor(
    `${kind} of ${id}, attempt ${attempt}`,
    (event) => event.hash === millrace.hash(id, queue) && event.kind === kind && event.attempt === attempt,
  );

const kindsOf = (id: string, queue: string): string[] =>
  millrace.events.events.filter(({ hash }) => hash === millrace.hash(id, queue)).map(({ attempt, kind }) => `${attempt}.${kind}`);

const attemptsOf = (id: string, queue: string): number[] =>
  jobsOf(jobs.seen, millrace.hash(id, queue)).map(({ labels }) => Number(labels[LABEL.attempt]));

const deadLettersOf = async (id: string): Promise<DeadLetter[]> =>
  (await millrace.deadLetters()).filter((entry) => entry.id === id);

/** Tells the script of an id that runs how to end. */
async function tell(id: string, queue: string, signal: string): Promise<void> {
  await eventOf(id, "started", queue);
  const [job] = jobsOf(jobs.seen, millrace.hash(id, queue));
  const pod = await pods.find(`the pod of ${id}`, ({ jobUid }) => jobUid === job?.uid);
  const exec = ["-n", pod.namespace, "exec", pod.name, "--", "/bin/sh", "-c", `kill -${signal} 1`];
  // What ends takes the shell that told it along.
  await millrace.kubectl(exec).catch((error: unknown) => {
    if (!String(error).includes("137")) throw error;
  });
}

async function unacknowledged(queue: string): Promise<number[]> {
  const manager = await jetstreamManager(millrace.connection);
  const infos = [STREAM.jobs, STREAM.retry].map((stream) => manager.consumers.info(stream, consumerName(queue)));
  return (await Promise.all(infos)).map(({ num_ack_pending }) => num_ack_pending);
}

async function consumersOf(queue: string): Promise<string[]> {
  const manager = await jetstreamManager(millrace.connection);
  const found: string[] = [];
  for (const stream of [STREAM.jobs, STREAM.retry]) {
    for await (const { name } of manager.consumers.list(stream)) if (queueOfConsumer(name) === queue) found.push(stream);
  }
  return found;
}

const delayed = (id: string, runAtMs: number): object => ({
  ...{ id, template: "sleep", params: { seconds: 0 } },
  runAt: new Date(runAtMs).toISOString(),
});

/** No event tells that a start is delayed: nothing has happened yet. */
const asleep = (id: string, queue: string): Promise<boolean> =>
  vi.waitUntil(async () => (await millrace.record(id, queue))?.state === "retrying", { timeout: 30_000, interval: 100 });

/** How many messages of an id RETRY holds, sleeping or due. */
async function retriesOf(id: string, queue: string): Promise<number> {
  const manager = await jetstreamManager(millrace.connection);
  const { state } = await manager.streams.info(STREAM.retry, { subjects_filter: "retry.>" });
  const mine = Object.entries(state.subjects ?? {}).filter(([subject]) => subject.includes(millrace.hash(id, queue)));
  return mine.reduce((sum, [, count]) => sum + count, 0);
}

/** A sweep sees a message that no queue takes, and a later one takes it away. */
async function sweptTwice(name: string): Promise<void> {
  const source = await millrace.publish(`jobs.${name}.queues`, "{}");
  await millrace.events.waitFor(
    `the sweeps that find ${name}`,
    (event) => event.kind === "rejected" && event.source.startsWith(source),
  );
}

describe.concurrent("queues", () => {
  it("a queue that is taken out of the configuration: what waits is in the DLQ, what runs ends without another attempt", async ({
    expect,
  }) => {
    const queue = "leaving";
    const slow = { slots: 2, policy: { raw: true }, retry: { backoff: { initial: "1h" } } };
    await config.change(({ queues, ...rest }) => ({ ...rest, queues: { ...queues, [queue]: slow } }));
    await publish(queue, rawJob("leaving-sleeps", "exit 1"));
    await publish(queue, delayed("leaving-delayed", Date.now() + 3_600_000));
    await Promise.all([eventOf("leaving-sleeps", "retrying", queue), asleep("leaving-delayed", queue)]);
    await publish(queue, rawJob("leaving-succeeds", LASTING));
    await publish(queue, rawJob("leaving-fails", LASTING));
    await Promise.all(["leaving-succeeds", "leaving-fails"].map((id) => eventOf(id, "started", queue)));
    // Both slots are in use.
    const waiting = ["leaving-waits-1", "leaving-waits-2"].map((id) => rawJob(id, "true"));
    for (const body of waiting) await publish(queue, body);

    await config.change(({ queues, ...rest }) => ({ ...rest, queues: without(queues, queue) }));

    await Promise.all(["leaving-sleeps", "leaving-delayed"].map((id) => millrace.outcome(id, queue)));
    await millrace.events.waitFor("rejections", (event) => event.queue === queue && event.kind === "rejected", 2);
    for (const body of waiting) {
      expect(await deadLettersOf(body.id)).toMatchObject([{ code: "UNKNOWN_QUEUE", body: Buffer.from(JSON.stringify(body)) }]);
      expect(await millrace.record(body.id, queue)).toBeUndefined();
      expect(attemptsOf(body.id, queue)).toEqual([]);
    }
    for (const [id, made] of [
      ["leaving-sleeps", [1]],
      ["leaving-delayed", []],
    ] as const) {
      expect(await millrace.record(id, queue)).toMatchObject({ state: "dead", reason: expect.stringMatching(/^UNKNOWN_QUEUE/) });
      expect(await deadLettersOf(id)).toMatchObject([{ reason: expect.stringMatching(/^UNKNOWN_QUEUE/) }]);
      expect(attemptsOf(id, queue)).toEqual(made);
      expect(await retriesOf(id, queue)).toBe(0);
    }
    for (const id of ["leaving-succeeds", "leaving-fails"]) {
      expect(kindsOf(id, queue)).toEqual(["1.created", "1.started"]);
      expect(await deadLettersOf(id)).toEqual([]);
    }

    await tell("leaving-succeeds", queue, SUCCEED);
    await tell("leaving-fails", queue, FAIL);
    expect((await millrace.outcome("leaving-succeeds", queue)).state).toBe("succeeded");
    expect(await millrace.outcome("leaving-fails", queue)).toMatchObject({ state: "dead", attempt: 1 });
    expect(kindsOf("leaving-fails", queue)).toEqual(["1.created", "1.started", "1.dead"]);
    expect(await deadLettersOf("leaving-fails")).toMatchObject([{ class: "exit" }]);
    await expect.poll(() => consumersOf(queue), { timeout: 60_000 }).toEqual([]);

    await config.change(({ queues, ...rest }) => ({ ...rest, queues: { ...queues, [queue]: slow } }));
    await publish(queue, rawJob("leaving-is-back", "true"));
    expect((await millrace.outcome("leaving-is-back", queue)).state).toBe("succeeded");
  });

  it("D1: a template that is taken away while its Job runs has no say in how that ends", async ({ expect }) => {
    const template = { image: "busybox:latest", command: ["/bin/sh", "-c", LASTING] };
    await config.change(({ templates, ...rest }) => ({ ...rest, templates: { ...templates, "queues-short": template } }));
    const body = { id: "template-runs", template: "queues-short" };
    await publish("default", body);
    await eventOf(body.id, "started", "default");
    await config.change(({ templates, ...rest }) => ({ ...rest, templates: without(templates, "queues-short") }));
    // Another of it is refused, so the change is known; the same message once more is no harm to its Job.
    const source = await publish("default", { id: "template-late", template: "queues-short" });
    await millrace.events.waitFor("a refusal", (event) => event.kind === "rejected" && event.source.startsWith(source));
    await publish("default", body);
    await eventOf(body.id, "duplicate", "default");
    await tell(body.id, "default", SUCCEED);
    expect(await millrace.outcome(body.id)).toMatchObject({ state: "succeeded", attempt: 1 });
    expect(kindsOf(body.id, "default").sort()).toEqual(["1.created", "1.duplicate", "1.started", "1.succeeded"]);
    expect(attemptsOf(body.id, "default")).toEqual([1]);
    expect(await deadLettersOf(body.id)).toEqual([]);
  });

  it("D7: a template that is taken away while its retry sleeps is the end of the job, with its bytes in the DLQ", async ({
    expect,
  }) => {
    const queue = "queues-sleepy";
    const template = { image: "busybox:latest", command: ["/bin/sh", "-c", LASTING] };
    const sleepy = { retry: { backoff: { delays: ["10s"] } } };
    await config.change(({ templates, queues, ...rest }) => ({
      ...rest,
      templates: { ...templates, "queues-gone": template },
      queues: { ...queues, [queue]: sleepy },
    }));
    const body = { id: "template-sleeps", template: "queues-gone" };
    await publish(queue, body);
    await tell(body.id, queue, FAIL);
    await eventOf(body.id, "retrying", queue);
    await config.change(({ templates, ...rest }) => ({ ...rest, templates: without(templates, "queues-gone") }));
    const record = await millrace.outcome(body.id, queue);
    expect(record).toMatchObject({ state: "dead", reason: expect.stringMatching(/^TEMPLATE_UNKNOWN: /) });
    expect(await deadLettersOf(body.id)).toMatchObject([
      { reason: expect.stringMatching(/^TEMPLATE_UNKNOWN: /), body: Buffer.from(JSON.stringify(body)) },
    ]);
    expect(attemptsOf(body.id, queue)).toEqual([1]);
    expect(kindsOf(body.id, queue).filter((kind) => kind.endsWith(".dead"))).toHaveLength(1);
  });

  it("D10: runAt holds no slot until it is time, and then it runs", async ({ expect }) => {
    const queue = "four";
    const runAtMs = Date.now() + 10_000;
    await publish(queue, delayed("later", runAtMs));
    await asleep("later", queue);
    // The acknowledgement is the last step of going to sleep.
    await expect.poll(() => unacknowledged(queue), { timeout: 8_000 }).toEqual([0, 0]);
    expect(await retriesOf("later", queue)).toBe(1);
    expect(await millrace.record("later", queue)).toMatchObject({ state: "retrying", attempt: 0 });
    expect(await millrace.outcome("later", queue)).toMatchObject({ state: "succeeded", attempt: 1 });
    const [job, ...others] = jobsOf(jobs.seen, millrace.hash("later", queue));
    expect(others).toEqual([]);
    // Kubernetes writes whole seconds.
    expect(Date.parse(job?.createdAt ?? "")).toBeGreaterThan(runAtMs - 1000);
    expect(await retriesOf("later", queue)).toBe(0);
  });

  it("P4: a paused queue hands out neither what is new nor what is due again, while what runs ends; resume goes on", async ({
    expect,
  }) => {
    const queue = "small";
    await publish(queue, rawJob("pause-ends", LASTING));
    await publish(queue, rawJob("pause-retries", first(LASTING)));
    await Promise.all(["pause-ends", "pause-retries"].map((id) => eventOf(id, "started", queue)));
    await ask(millrace.connection, "pause", { queue, reason: "a test" });
    await publish(queue, rawJob("pause-new", "true"));
    await tell("pause-ends", queue, SUCCEED);
    await tell("pause-retries", queue, FAIL);
    expect((await millrace.outcome("pause-ends", queue)).state).toBe("succeeded");
    await eventOf("pause-retries", "retrying", queue);
    for (const name of ["pause-sweep-1", "pause-sweep-2"]) {
      await sweptTwice(name);
      expect(await retriesOf("pause-retries", queue)).toBe(1);
      expect(attemptsOf("pause-retries", queue)).toEqual([1]);
      expect(attemptsOf("pause-new", queue)).toEqual([]);
    }
    await ask(millrace.connection, "resume", { queue });
    expect(await millrace.outcome("pause-new", queue)).toMatchObject({ state: "succeeded", attempt: 1 });
    expect(await millrace.outcome("pause-retries", queue)).toMatchObject({ state: "succeeded", attempt: 2 });
    expect(attemptsOf("pause-retries", queue)).toEqual([1, 2]);
    expect(await retriesOf("pause-retries", queue)).toBe(0);
  });
});

it("leaves nothing behind", async () => {
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
});
