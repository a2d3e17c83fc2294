import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { jsonOf } from "../libs/contract/ascii-json.ts";
import { ANNOTATION, jobHash } from "../libs/contract/names.ts";
import { STREAM } from "../libs/contract/streams.ts";
import { parseTraceparent } from "../libs/contract/traceparent.ts";
import { silentLog } from "../libs/runtime/log.ts";
import { Metrics } from "../libs/runtime/metrics.ts";
import { OtlpTraces } from "../libs/runtime/otlp-traces.ts";
import { type CollectedSpan, OtlpCollector } from "../libs/runtime/testing/otlp-collector.ts";
import { INSTANCE } from "../libs/streams/testing/workbench.ts";
import { MonitorBench, QUEUE } from "./testing/monitor-bench.ts";
import { podEnv, TracedEngine } from "./testing/traced-engine.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PRODUCER = `00-${TRACE}-b7ad6b7169203331-01`;
const NANOS = /^\d{19}$/;

let bench: MonitorBench;
let collector: OtlpCollector;
let traces: OtlpTraces;
let engine: TracedEngine;

beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  collector = await OtlpCollector.start();
  traces = new OtlpTraces({
    endpoint: collector.endpoint,
    headersFile: undefined,
    sampleRatio: 1,
    resource: { "service.name": "millrace-test" },
    metrics: new Metrics("test"),
    log: silentLog,
    delayMs: 3_600_000,
  });
  engine = await TracedEngine.open(bench, traces);
  return async () => {
    await traces.stop();
    expect(collector.problems).toEqual([]);
    await collector[Symbol.asyncDispose]();
  };
});

const publish = (id: string, head: Record<string, string> = {}) =>
  bench.streams.publish(QUEUE, JSON.stringify({ id, template: "hello" }), head);

/** All that was told, by the name of the span and, where there is one, its attempt. */
async function spans(): Promise<Record<string, CollectedSpan>> {
  await traces.stop();
  return Object.fromEntries(
    collector.spans.map((span) => [`${span.name.split(" ")[0]} ${span.attributes["millrace.attempt"] ?? ""}`.trim(), span]),
  );
}

async function eventTraces(id: string): Promise<unknown[]> {
  const found: unknown[] = [];
  for (const subject of Object.keys(
    await bench.streams.counts(STREAM.events, `events.${QUEUE}.${jobHash(INSTANCE, QUEUE, id)}.>`),
  )) {
    const stored = await bench.streams.manager.streams.getMessage(STREAM.events, { last_by_subj: subject });
    found.push((jsonOf(stored?.string()) as { traceparent?: unknown }).traceparent);
  }
  return found;
}

describe("one trace: publish → dispatch → Job → pod → outcome", () => {
  it("of a job that is tried again: the producer's span, the job, and under it each dispatch and attempt", async () => {
    await publish("a", { traceparent: PRODUCER, tracestate: "vendor=1" });
    const first = await engine.dispatched();
    await engine.ends(first, 1);
    const second = await engine.dispatched(STREAM.retry);
    await engine.ends(second, 0);

    const told = await spans();
    expect(Object.keys(told).toSorted()).toEqual(["attempt 1", "attempt 2", "dispatch 1", "dispatch 2", "job"]);
    const { job } = told;
    expect(job).toMatchObject({ traceId: TRACE, parentSpanId: "b7ad6b7169203331", status: { code: 0 } });
    expect(job?.attributes).toMatchObject({ "millrace.outcome": "succeeded", "millrace.attempts": 2, "millrace.id": "a" });
    for (const [name, span] of Object.entries(told)) {
      expect(span.traceId, name).toBe(TRACE);
      if (name !== "job") expect(span.parentSpanId, name).toBe(job?.spanId);
    }
    expect(told["attempt 1"]).toMatchObject({
      status: { code: 2 },
      attributes: { "error.type": "exit", "k8s.job.name": first.metadata?.name, "k8s.namespace.name": "jobs" },
    });
    expect(told["attempt 2"]).toMatchObject({ status: { code: 0 }, attributes: { "millrace.outcome": "succeeded" } });
    expect(told["dispatch 2"]?.attributes).toMatchObject({
      "messaging.system": "nats",
      "messaging.destination.name": "jobs.default.hello",
      "k8s.job.uid": second.metadata?.uid,
    });

    for (const [attempt, made] of [first, second].entries()) {
      const parent = `00-${TRACE}-${told[`attempt ${attempt + 1}`]?.spanId}-01`;
      expect(podEnv(made, "TRACEPARENT")).toBe(parent);
      expect(podEnv(made, "TRACESTATE")).toBe("vendor=1");
      expect(made.metadata?.annotations?.[ANNOTATION.traceparent]).toBe(PRODUCER);
    }
    const events = await eventTraces("a");
    expect(events.length).toBeGreaterThan(3);
    expect(new Set(events)).toEqual(new Set([PRODUCER]));
  });

  it("without a producer's trace it begins with the job, and every service makes the same of it", async () => {
    await publish("b");
    const first = await engine.dispatched();
    await engine.ends(first, 1);
    await engine.ends(await engine.dispatched(STREAM.retry), 1);
    const told = await spans();
    const { job } = told;
    expect(job?.parentSpanId).toBeUndefined();
    expect(job).toMatchObject({ status: { code: 2 }, attributes: { "millrace.outcome": "dead", "millrace.attempts": 2 } });
    expect(new Set(Object.values(told).map(({ traceId }) => traceId)).size).toBe(1);
    expect(podEnv(first, "TRACEPARENT")).toBe(`00-${job?.traceId}-${told["attempt 1"]?.spanId}-01`);
    expect(parseTraceparent(first.metadata?.annotations?.[ANNOTATION.traceparent])?.spanId).toBe(job?.spanId);
    for (const { startTimeUnixNano, endTimeUnixNano } of Object.values(told)) {
      expect(startTimeUnixNano).toMatch(NANOS);
      expect(endTimeUnixNano >= startTimeUnixNano).toBe(true);
    }
  });

  it("F2: settling that is repeated after a crash tells the same spans", async () => {
    await publish("c", { traceparent: PRODUCER });
    const job = await engine.dispatched();
    await engine.ends(job, 0);
    const { [ANNOTATION.settled]: _settled, ...annotations } = job.metadata?.annotations ?? {};
    Object.assign(job.metadata ?? {}, { annotations });
    engine.restartMonitor();
    await engine.look(job);
    await traces.stop();
    for (const name of ["attempt default", "job default"]) {
      const [span, again, ...others] = collector.spans.filter((each) => each.name === name);
      expect(span).toBeDefined();
      expect([again, others]).toEqual([span, []]);
    }
  });

  it("D11: a message that can never run has its place in its producer's trace, with the reason", async () => {
    await bench.streams.publish(QUEUE, "no json", { traceparent: PRODUCER });
    await engine.rejected();
    const { dispatch } = await spans();
    expect(dispatch).toMatchObject({
      traceId: TRACE,
      parentSpanId: "b7ad6b7169203331",
      status: { code: 2 },
      attributes: { "error.type": "BODY_INVALID", "millrace.outcome": "rejected" },
    });
    const line = engine.lines.find(({ event }) => event === "message.rejected");
    expect(line?.fields).toMatchObject({ queue: QUEUE, code: "BODY_INVALID", traceId: TRACE });
  });

  it("what its producer does not want kept is not told; its pod hears so", async () => {
    await publish("d", { traceparent: PRODUCER.replace(/01$/, "00") });
    const job = await engine.dispatched();
    await engine.ends(job, 0);
    expect(await spans()).toEqual({});
    expect(podEnv(job, "TRACEPARENT")).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-00$`));
  });

  it("where nothing is traced the producer's goes on as it is, and nothing is begun", async () => {
    engine = await TracedEngine.open(bench, undefined);
    await publish("e", { traceparent: PRODUCER });
    expect(podEnv(await engine.dispatched(), "TRACEPARENT")).toBe(PRODUCER);
    await publish("f");
    const job = await engine.dispatched();
    expect(podEnv(job, "TRACEPARENT")).toBeUndefined();
    expect(job.metadata?.annotations?.[ANNOTATION.traceparent]).toBeUndefined();
    await engine.ends(job, 0);
    expect(engine.lines.some(({ fields }) => fields["id"] === "f" && "traceId" in fields)).toBe(false);
  });
});

describe("the log of a job", () => {
  it("tells each step once, and each line names job, queue, attempt, Job and trace", async () => {
    await publish("g", { traceparent: PRODUCER });
    await engine.ends(await engine.dispatched(), 1);
    await engine.ends(await engine.dispatched(STREAM.retry), 1);
    expect(engine.said("g")).toEqual([
      "job.created 1",
      "job.recorded 1",
      "job.started 1",
      "job.retrying 1",
      "job.created 2",
      "job.recorded 2",
      "job.started 2",
      "job.dead 2",
    ]);
    for (const { event, fields } of engine.lines) {
      const made = `hello-${jobHash(INSTANCE, QUEUE, "g")}-a${fields["attempt"]}`;
      const expected = { id: "g", queue: QUEUE, namespace: "jobs", job: made, uid: expect.any(String), traceId: TRACE };
      expect(fields, event).toMatchObject({ ...expected, attempt: expect.any(Number) });
    }
    expect(engine.lines.find(({ event }) => event === "job.retrying")?.fields).toMatchObject({
      class: "exit",
      reason: expect.stringContaining("exited with code 1"),
      notBefore: expect.any(String),
    });
  });
});
