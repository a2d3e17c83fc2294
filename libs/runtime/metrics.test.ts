import { expect, it } from "vitest";
import { Metrics } from "./metrics.ts";

const lines = async (metrics: Metrics, name: string): Promise<string[]> =>
  (await metrics.text()).split("\n").filter((line) => line.startsWith(name));

it("a queue's counters are there from its configuration on, and go on when it is configured again", async () => {
  const metrics = new Metrics("monitor");
  expect(await lines(metrics, "messages_failed_total")).toEqual([]);
  metrics.beginQueues(["a"]);
  expect(await lines(metrics, "messages_failed_total")).toEqual(['messages_failed_total{queue="a",service="monitor"} 0']);
  expect(await lines(metrics, 'millrace_attempts_ended_total{queue="a",class="image"')).toHaveLength(1);
  metrics.messagesFailed.inc({ queue: "a" });
  metrics.beginQueues(["a", "b"]);
  expect(await lines(metrics, "messages_failed_total")).toEqual([
    'messages_failed_total{queue="a",service="monitor"} 1',
    'messages_failed_total{queue="b",service="monitor"} 0',
  ]);
});

it("what is read when it is asked for is read then", async () => {
  const metrics = new Metrics("monitor");
  let leads = 0;
  metrics.beforeScrape(() => metrics.leader.set(leads));
  expect(await lines(metrics, "millrace_leader")).toEqual(['millrace_leader{service="monitor"} 0']);
  leads = 1;
  expect(await lines(metrics, "millrace_leader")).toEqual(['millrace_leader{service="monitor"} 1']);
});

it("a monitor that leads no more says nothing of queues and streams", async () => {
  const metrics = new Metrics("monitor");
  metrics.oldestWaiting.set({ queue: "a" }, 5);
  metrics.deadLetters.set({ queue: "a" }, 5);
  metrics.streamFill.set({ stream: "JOBS" }, 0.5);
  metrics.resetLeaderGauges();
  for (const name of ["millrace_oldest_waiting_seconds{", "millrace_dead_letters{", "millrace_stream_fill_ratio{"]) {
    expect(await lines(metrics, name)).toEqual([]);
  }
});

it("requests to the API server are counted by method and status, and timed", async () => {
  const metrics = new Metrics("dispatcher");
  metrics.kubeAnswered({ method: "POST", status: 201, tookMs: 250 });
  metrics.kubeAnswered({ method: "POST", status: 0, tookMs: 30_000 });
  expect(await lines(metrics, "millrace_kube_requests_total")).toEqual([
    'millrace_kube_requests_total{method="POST",code="201",service="dispatcher"} 1',
    'millrace_kube_requests_total{method="POST",code="0",service="dispatcher"} 1',
  ]);
  expect(await lines(metrics, "millrace_kube_request_duration_seconds_sum")).toEqual([
    'millrace_kube_request_duration_seconds_sum{service="dispatcher",method="POST"} 30.25',
  ]);
});

it("the version that runs is told", async () => {
  expect(await lines(new Metrics("monitor"), "millrace_build_info")).toEqual([
    expect.stringMatching(/^millrace_build_info\{version="\d+\.\d+\.\d+",service="monitor"\} 1$/),
  ]);
});
