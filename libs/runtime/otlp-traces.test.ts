import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { JobSpan } from "../contract/job-span.ts";
import { readEnv } from "./env.ts";
import { silentLog } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { OtlpTraces, type OtlpTracesOptions, parseHeaders } from "./otlp-traces.ts";
import { OtlpCollector } from "./testing/otlp-collector.ts";
import { openTraces, traceEnv } from "./trace.ts";

let collector: OtlpCollector;
let metrics: Metrics;
const warnings: (readonly [string, unknown])[] = [];
const log = { ...silentLog, warn: (event: string, fields?: unknown) => void warnings.push([event, fields]) };

beforeEach(async () => {
  collector = await OtlpCollector.start();
  metrics = new Metrics("test");
  warnings.length = 0;
  return async () => {
    expect(collector.problems).toEqual([]);
    await collector[Symbol.asyncDispose]();
  };
});

const traces = (rest: Partial<OtlpTracesOptions> = {}): OtlpTraces =>
  new OtlpTraces({
    endpoint: collector.endpoint,
    headersFile: undefined,
    sampleRatio: 1,
    resource: { "service.name": "millrace-test" },
    metrics,
    log,
    delayMs: 1,
    ...rest,
  });

const span = (digit = "c"): JobSpan => ({
  name: "attempt default",
  kind: "internal",
  context: { traceId: "a".repeat(32), spanId: digit.repeat(16), flags: 1, parentSpanId: "b".repeat(16) },
  startMs: 1_767_225_600_000.5,
  endMs: 1_767_225_609_000,
  attributes: { "millrace.attempt": 1, "millrace.queue": "default" },
  events: [{ name: "pod.started", atMs: 1_767_225_601_000 }],
  error: "exit: no",
});

const count = async (outcome: string): Promise<number> =>
  (await metrics.traceSpans.get()).values.find(({ labels }) => labels.outcome === outcome)?.value ?? 0;
const until = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 10_000 });

describe("spans are sent to a collector by OTLP", () => {
  it("with ids, times, attributes and status, and what is left of them when the process ends", async () => {
    const sending = traces({ delayMs: 3_600_000 });
    sending.add(span());
    sending.add(undefined);
    await sending.stop();
    expect(collector.spans).toEqual([
      {
        traceId: "a".repeat(32),
        spanId: "c".repeat(16),
        parentSpanId: "b".repeat(16),
        name: "attempt default",
        kind: 1,
        startTimeUnixNano: "1767225600000500000",
        endTimeUnixNano: "1767225609000000000",
        attributes: { "millrace.attempt": 1, "millrace.queue": "default" },
        events: [{ name: "pod.started", timeUnixNano: "1767225601000000000" }],
        status: { code: 2, message: "exit: no" },
        resource: { "service.name": "millrace-test" },
      },
    ]);
    expect(await count("exported")).toBe(1);
  });

  it("a collector that is busy is asked again when it says", async () => {
    collector.answers = [
      { kind: "status", status: 503, retryAfterSeconds: 1 },
      { kind: "takes", rejectedSpans: 0 },
    ];
    const sending = traces();
    sending.add(span());
    await until(async () => expect(await count("exported")).toBe(1));
    expect(collector.spans).toHaveLength(1);
    expect(warnings).toEqual([]);
    await sending.stop();
  });

  it.each([
    ["refuses", [{ kind: "status", status: 400 } as const]],
    ["hangs", [{ kind: "hangs" } as const]],
  ])("what a collector that %s does not take is dropped and counted, and said once", async (_what, answers) => {
    collector.answers = answers;
    const sending = traces({ timeoutMs: 50 });
    for (const digit of ["1", "2"]) {
      const before = await count("dropped");
      sending.add(span(digit));
      await until(async () => expect(await count("dropped")).toBe(before + 1));
    }
    expect(warnings.map(([event]) => event)).toEqual(["traces.dropped"]);
    collector.answers = [{ kind: "takes" }];
    sending.add(span("3"));
    await until(async () => expect(await count("exported")).toBe(1));
    await sending.stop();
  });

  it("what comes on top of a collector that hangs is dropped, and the process ends all the same", async () => {
    collector.answers = [{ kind: "hangs" }];
    const sending = traces({ stopTimeoutMs: 50 });
    for (let number = 0; number < 3_000; number += 1) sending.add(span());
    expect(await count("dropped")).toBe(3_000 - 2_048);
    await sending.stop();
    expect(await count("exported")).toBe(0);
  });

  it("one that is not there harms nobody", async () => {
    const gone = await OtlpCollector.start();
    const { endpoint } = gone;
    await gone[Symbol.asyncDispose]();
    const sending = traces({ endpoint, timeoutMs: 50 });
    sending.add(span());
    await until(async () => expect(await count("dropped")).toBe(1));
    await sending.stop();
  });

  describe("with credentials from a file", () => {
    let folder: string;
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), "otlp-"));
    });
    afterEach(() => rm(folder, { recursive: true }));

    it("that is read for each sending, so that it may be rotated", async () => {
      const headersFile = join(folder, "headers");
      const sending = traces({ headersFile });
      for (const secret of ["one", "two"]) {
        await writeFile(headersFile, `Authorization: Bearer ${secret}\nX-Scope: a: b\n`);
        sending.add(span());
        await until(async () => expect(await count("exported")).toBe(collector.headers.length));
        await until(async () =>
          expect(collector.headers.at(-1)).toMatchObject({ authorization: `Bearer ${secret}`, "x-scope": "a: b" }),
        );
      }
      await sending.stop();
    });
  });

  it("its lines are names and values", () => {
    expect(parseHeaders("\n# nothing\n a: b \r\nAuthorization: Basic x:y=\nbroken\n")).toEqual({
      a: "b",
      Authorization: "Basic x:y=",
    });
  });
});

describe("the environment of tracing", () => {
  const open = (env: NodeJS.ProcessEnv) =>
    openTraces({ settings: readEnv(traceEnv, env), service: "monitor", instance: "i", pod: "p", metrics, log });

  it("without a collector there is nothing", async () => {
    expect(await open({ OTEL_TRACES_SAMPLER: "parentbased_always_on" })).toBeUndefined();
  });

  it.each([
    [{}, 1],
    [{ OTEL_TRACES_SAMPLER: "parentbased_always_off" }, 0],
    [{ OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.25" }, 0.25],
  ])("%o keeps the ratio of %d of the traces that it begins", async (env, ratio) => {
    const opened = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.endpoint}/`, ...env });
    expect(opened?.sampleRatio).toBe(ratio);
    opened?.add(span());
    await opened?.stop();
    expect(collector.spans[0]?.resource).toEqual({
      "service.name": "millrace-monitor",
      "service.version": expect.stringMatching(/^\d+\.\d+\.\d+/),
      "service.namespace": "i",
      "service.instance.id": "p",
    });
  });

  it.each([
    { OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4318" },
    { OTEL_TRACES_SAMPLER: "always" },
    { OTEL_TRACES_SAMPLER_ARG: "2" },
  ])("%o is refused", (env) => {
    expect(() => readEnv(traceEnv, env)).toThrow(Object.keys(env)[0]);
  });
});
