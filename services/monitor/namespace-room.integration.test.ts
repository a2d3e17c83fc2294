import type { V1Job } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ANNOTATION } from "../../libs/contract/names.ts";
import { SIGNAL } from "../../libs/contract/streams.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { MonitorBench, terminated } from "../testing/monitor-bench.ts";
import { NamespaceRoom } from "./namespace-room.ts";

let bench: MonitorBench;
let room: NamespaceRoom;
let nowMs: number;
beforeAll(async () => {
  bench = await MonitorBench.open();
});
afterAll(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  await bench.reset();
  nowMs = Date.parse("2026-01-01T00:01:11Z");
  room = new NamespaceRoom({
    connection: bench.streams.connection,
    jobs: bench.cluster.jobs,
    namespaces: ["jobs", "other"],
    selector: "a=b",
    nowMs: () => nowMs,
    log: silentLog,
  });
  await room.start();
});
afterEach(() => room.stop());

const names = () => [...bench.cluster.objects.values()].map(({ metadata }) => metadata?.annotations?.[ANNOTATION.id]).toSorted();
/** `bench.cluster.end` says that it ended at 00:01:00. */
async function ended(id: string, isSettled: boolean): Promise<V1Job> {
  const { job } = await bench.made(id);
  bench.cluster.end(job, "Complete", terminated(0));
  if (isSettled) Object.assign(job.metadata?.annotations ?? {}, { [ANNOTATION.settled]: "true" });
  return job;
}
async function signal(namespace: string): Promise<void> {
  bench.streams.connection.publish(SIGNAL.namespaceFull, namespace);
  await bench.streams.connection.flush();
}

describe("D8: a namespace whose quota is used up", () => {
  it("loses its Jobs that were settled more than 10 s ago, and nothing else", async () => {
    await ended("old", true);
    await ended("unsettled", false);
    await bench.made("live");
    const fresh = await ended("fresh", true);
    Object.assign(fresh.status ?? {}, { completionTime: "2026-01-01T00:01:05Z" });
    await signal("jobs");
    await vi.waitFor(() => expect(names()).toEqual(["fresh", "live", "unsettled"]));
  });

  it("one look serves many signals; a namespace of somebody else is none of ours", async () => {
    for (let times = 0; times < 20; times += 1) await signal("jobs");
    await signal("kube-system");
    await signal("other");
    await vi.waitFor(() => expect(bench.cluster.calls("GET", "other")).toBe(1));
    expect(bench.cluster.calls("GET", "jobs")).toBe(1);
    expect(bench.cluster.calls("GET", "kube-system")).toBe(0);
    nowMs += 2_000;
    await signal("jobs");
    await vi.waitFor(() => expect(bench.cluster.calls("GET", "jobs")).toBe(2));
  });

  it("that may not be read stops nothing, and after the end of the term nobody looks", async () => {
    bench.cluster.forbidden.add("jobs");
    await signal("jobs");
    await signal("other");
    await vi.waitFor(() => expect(bench.cluster.calls("GET", "other")).toBe(1));
    await room.stop();
    nowMs += 60_000;
    await signal("other");
    expect(bench.cluster.calls("GET", "other")).toBe(1);
  });
});
