import { expect, it } from "vitest";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { StreamFill } from "./stream-fill.ts";

it("Limits: RETRY at half of its size and records at four fifths are a matter for people, and not before", async () => {
  const fills: Record<string, number> = { JOBS: 0.89, RETRY: 0.49, DLQ: 0.79 };
  const metrics = new Metrics("monitor");
  const fill = new StreamFill({ broker: { fillOf: (stream) => Promise.resolve(fills[stream] ?? 0) }, metrics, log: silentLog });
  await fill.sweep();
  expect(fill.alarms()).toEqual([]);
  fills["RETRY"] = 0.5;
  await fill.sweep();
  expect(fill.alarms()).toEqual(["stream RETRY is 50 % full: when it is full, the oldest retries are lost"]);
  expect(await metrics.text()).toContain('millrace_stream_fill_ratio{stream="RETRY",service="monitor"} 0.5');
  fills["RETRY"] = 0.1;
  fills["KV_millrace_jobs"] = 0.8;
  await fill.sweep();
  expect(fill.alarms()).toEqual([
    "stream KV_millrace_jobs is 80 % full: when it is full, no other job can be recorded or settled",
  ]);
  fills["KV_millrace_jobs"] = 0.1;
  await fill.sweep();
  expect(fill.alarms()).toEqual([]);
});
