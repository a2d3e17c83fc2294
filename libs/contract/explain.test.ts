import { describe, expect, it } from "vitest";
import { explain, type JobFacts, type Lane, pauseText } from "./explain.ts";
import { FAILURE_CLASSES } from "./failure-class.ts";
import { podViewOf, recordIn } from "./testing/records.ts";

const AT = "2026-01-01T00:10:00Z";
const lane: Lane = { setting: "slots", inUse: 2, limit: 10, waiting: 0, pause: undefined };
const facts: JobFacts = {
  at: AT,
  id: "a",
  queue: "default",
  configured: true,
  record: undefined,
  message: { kind: "inLine", ahead: 0 },
  lane,
  running: [],
  blocked: undefined,
  job: undefined,
  pods: [],
};
const of = (rest: Partial<JobFacts>) => explain({ ...facts, ...rest });
const only = (rest: Partial<JobFacts>) => {
  const [first, ...others] = of(rest);
  expect(others).toEqual([]);
  return first;
};
const running = { record: recordIn("running"), message: undefined, job: { suspended: false } };
const pending = (rest: Parameters<typeof podViewOf>[0]) => [podViewOf({ phase: "Pending", ...rest })];

describe("why a message waits", () => {
  it("its queue is not configured", () => {
    expect(only({ configured: false })?.why).toBe("no queue default is configured, so nobody takes its messages");
  });

  it("P4: its queue is paused: until when, by whom, why, and how to resume it", () => {
    const pause = { until: "2026-01-01T01:00:00Z", by: "ann", reason: "database upgrade" };
    expect(only({ lane: { ...lane, pause } })).toEqual({
      why: "queue default is paused until 2026-01-01T01:00:00Z by ann: database upgrade",
      todo: "millrace queues resume default",
    });
    expect(pauseText({})).toBe("until it is resumed");
  });

  it("all slots are in use, and by what", () => {
    const users = [{ id: "b", since: "2026-01-01T00:00:00Z" }];
    expect(only({ lane: { ...lane, inUse: 10 }, running: users })?.why).toBe(
      "all 10 slots of queue default are in use, the longest by b (10m)",
    );
    const retry: Lane = { ...lane, setting: "retrySlots", inUse: 1, limit: 1 };
    expect(only({ lane: retry })?.todo).toContain("raise queues.default.retrySlots");
  });

  it("D8: the cluster refuses it; a message that was delivered holds a slot itself, so slots are not its reason", () => {
    const blocked = { at: "2026-01-01T00:00:00Z", reason: "exceeded quota" };
    const found = only({ message: { kind: "delivered" }, blocked, lane: { ...lane, inUse: 10 } });
    expect(found?.why).toBe("the cluster has been refusing it since 2026-01-01T00:00:00Z: exceeded quota");
  });

  it("paused and full at once are two reasons", () => {
    expect(of({ lane: { ...lane, inUse: 10, pause: {} } })).toHaveLength(2);
  });

  it("others come before it, it is due, or a dispatcher has it", () => {
    expect(only({ message: { kind: "inLine", ahead: 7 } })?.why).toBe("7 messages come before it on queue default");
    expect(only({})?.why).toBe("it is due and will be taken at once");
    expect(only({ message: { kind: "delivered" } })?.why).toContain("a dispatcher has it");
  });
});

describe("why a retrying job waits", () => {
  const attempts = [{ n: 1, uid: "uid-1", class: "oom" as const, reason: "container main ran out of memory" }];
  const sleeping = recordIn("retrying", {
    attempts,
    next: { attempt: 2, notBefore: "2026-01-01T00:14:00Z", memory: { main: "96Mi" } },
  });

  it("it sleeps: until when, after what, and what the next attempt gets", () => {
    expect(only({ record: sleeping, message: undefined })).toEqual({
      why: "attempt 2 sleeps until 2026-01-01T00:14:00Z (4m from now) after oom: container main ran out of memory; main gets 96Mi",
      todo: "nothing: it wakes by itself. To give up: millrace cancel a",
    });
  });

  it("D10: a delayed start says why it was delayed", () => {
    const next = { attempt: 1, notBefore: "2026-01-01T00:14:00Z" };
    const record = recordIn("retrying", { attempts: [], reason: "its runAt", next });
    expect(only({ record, message: undefined })?.why).toBe(
      "attempt 1 sleeps until 2026-01-01T00:14:00Z (4m from now) after its runAt",
    );
  });

  it("P4: a pause is said while it sleeps, too", () => {
    expect(of({ record: sleeping, lane: { ...lane, pause: {} } })).toHaveLength(2);
  });

  it("once due it waits for what any message waits for", () => {
    const due = recordIn("retrying", { attempts, next: { attempt: 2, notBefore: "2026-01-01T00:09:00Z" } });
    const retry: Lane = { ...lane, setting: "retrySlots", inUse: 1, limit: 1 };
    expect(only({ record: due, message: undefined, lane: retry })?.why).toBe("all 1 retrySlots of queue default are in use");
  });
});

describe("why a recorded attempt does not run yet", () => {
  it("its Job is gone, is being stopped, was suspended, or has no pod", () => {
    expect(only({ ...running, job: undefined })?.why).toContain("not in the cluster");
    expect(only({ ...running, job: { suspended: true, stop: "image" } })?.why).toBe("the attempt is being stopped (image)");
    expect(only({ ...running, job: { suspended: true } })?.why).toContain("somebody suspended its Job");
    expect(only(running)?.todo).toBe("kubectl -n jobs describe job hello-h-a1 shows what refused them");
  });

  it("no node fits, in the scheduler's words", () => {
    const unschedulable = { since: "2026-01-01T00:00:00Z", message: "0/1 nodes are available: 1 Insufficient cpu." };
    expect(only({ ...running, pods: pending({ unschedulable }) })?.why).toBe(
      "unschedulable since 2026-01-01T00:00:00Z: 0/1 nodes are available: 1 Insufficient cpu.",
    );
  });

  it.each([
    ["ImagePullBackOff", "cannot be pulled"],
    ["ErrImagePull", "cannot be pulled"],
    ["CreateContainerConfigError", "cannot be made"],
    ["ContainerCreating", "is being started on node0"],
  ])("its container waits: %s", (reason, text) => {
    const containers = [{ name: "main", waiting: { reason, message: "" } }];
    expect(only({ ...running, pods: pending({ containers }) })?.why).toContain(text);
  });

  it("a pod that runs waits for nothing; one that ended is not what is looked at", () => {
    expect(of({ ...running, pods: [podViewOf({ phase: "Running" })] })).toEqual([]);
    const pods = [podViewOf({ phase: "Failed" }), podViewOf({ uid: "pod-2", phase: "Running" })];
    expect(of({ ...running, pods })).toEqual([]);
  });
});

describe("a job that ended", () => {
  it("succeeded and cancelled need no explanation", () => {
    expect(of({ record: recordIn("succeeded") })).toEqual([]);
    expect(of({ record: recordIn("cancelled") })).toEqual([]);
  });

  it.each(FAILURE_CLASSES)("dead of %s: what it was, what to mend, and where message and log are", (failure) => {
    const attempts = [{ n: 1, uid: "uid-1", class: failure, reason: "because" }];
    const found = only({ record: recordIn("dead", { attempts, reason: "because" }) });
    expect(found?.why).toBe(`dead after attempt 1: ${failure}: because`);
    expect(found?.todo).toMatch(
      new RegExp(`millrace rerun a.*millrace logs a.*DLQ dlq\\.default\\.hello\\.${"h".repeat(20)}\\.1$`),
    );
  });
});
