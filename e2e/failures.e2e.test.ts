import type { V1PodList } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../libs/contract/dead-letter.ts";
import { LABEL } from "../libs/contract/names.ts";
import { LogTails } from "../libs/streams/log-tails.ts";
import { Installation, NOTHING } from "./harness/installation.ts";
import { Jobs, memoryOf, only } from "./harness/jobs.ts";

/**
 * A process holds so many MiB at once; the kernel kills it. The container ends a moment later: containerd tells the two apart, and where they come
 * together it may say that the container failed before it knows why.
 */
const hold = (mebibytes: number): string =>
  `dd if=/dev/zero of=/dev/null bs=${mebibytes}M count=1; code=$?; [ $code = 0 ] || sleep 1; exit $code`;
const memory = (limit: string): object => ({ resources: { requests: { cpu: "5m", memory: "4Mi" }, limits: { memory: limit } } });

const SECRET = "s3cr3t-of-the-job";
const SAYS_AND_FAILS = 'echo "attempt $MILLRACE_ATTEMPT"; echo "token $API_TOKEN"; echo "plain $PLAIN"; exit 3';
const TINY = Array.from({ length: 10 }, (_, index) => `fail-tiny-${index}`);
const LATER = "millrace.dev/e2e-later";
const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

let millrace: Installation;
let jobs: Jobs;
let exitBody: string;

/** As good as all at once: most of them wait for something, and they wait together. */
beforeAll(async () => {
  millrace = await Installation.open();
  jobs = await Jobs.open(millrace, "fail");
  const env = [
    { name: "API_TOKEN", value: SECRET },
    { name: "PLAIN", value: "in-the-clear" },
  ];
  exitBody = `  ${JSON.stringify(jobs.message("fail-exit", SAYS_AND_FAILS, { env }), null, 1)}\n`;
  // Its deadline begins with the Job: alone, its container has started long before that.
  const runsTooLong = `trap 'sleep 2; exit 143' TERM; echo "still at work"; sleep 600 & wait`;
  await jobs.run("fail-deadline", runsTooLong, { backoffLimit: 0, activeDeadlineSeconds: 10 });
  await millrace.started("fail-deadline");
  await Promise.all([
    jobs.run("fail-oom-grows", hold(90), memory("32Mi"), "four"),
    jobs.run("fail-oom-cap", hold(150), memory("72Mi"), "four"),
    jobs.publish("fail-exit", exitBody, { headers: { traceparent: TRACE, "X-Customer": "ä & co" } }),
    jobs.run("fail-64", "exit 64"),
    jobs.run("fail-backoff-0", "exit 1", { backoffLimit: 0 }),
    jobs.run("fail-backoff-3", "exit 1", { backoffLimit: 3 }),
    jobs.run("fail-pull", "true", { image: "127.0.0.1:1/no/such:image" }, "quick"),
    jobs.run("fail-name", "true", { image: "Not:A:Name" }, "quick"),
    jobs.run("fail-config", "true", { envRef: [{ name: "nowhere", type: "configmap" }] }, "quick"),
    jobs.run("fail-nowhere", "true", { backoffLimit: 0, nodeSelector: { matchKey: LATER, matchValue: "yes" } }, "quick"),
    jobs.run("fail-ttl", "true", { ttlSecondsAfterFinished: 0 }),
    ...TINY.map((id) => jobs.run(id, "true")),
  ]);
});
afterAll(async () => {
  await millrace.kubectl(["label", "nodes", "--all", `${LATER}-`]);
  await jobs[Symbol.asyncDispose]();
  await millrace[Symbol.asyncDispose]();
});

const logTail = async (id: string, attempt: number, queue = "default"): Promise<string | undefined> =>
  (await LogTails.open(millrace.connection)).get(millrace.hash(id, queue), attempt);

/** What the pods of an id really were given, by attempt. */
async function memoryLimits(id: string, queue: string): Promise<(string | undefined)[]> {
  const path = `/api/v1/namespaces/${millrace.names.jobsNamespace}/pods`;
  const query = { labelSelector: `${LABEL.job}=${millrace.hash(id, queue)}` };
  const { items } = await millrace.kube.json<V1PodList>({ method: "GET", path, query });
  const attemptOf = (labels: Readonly<Record<string, string>> = {}): number => Number(labels[LABEL.attempt]);
  return items
    .toSorted((a, b) => attemptOf(a.metadata?.labels) - attemptOf(b.metadata?.labels))
    .map(({ spec }) => spec?.containers[0]?.resources?.limits?.["memory"]);
}

describe("a container that needs more memory than it was given", () => {
  it("oom: is given half as much again each time, until it succeeds", async () => {
    const { record } = await jobs.end("fail-oom-grows", ["oom", "oom", "oom", "succeeded"]);
    expect(memoryOf(record.attempts)).toEqual([undefined, "48Mi", "72Mi", "108Mi"]);
    expect(await memoryLimits("fail-oom-grows", "four")).toEqual(["32Mi", "48Mi", "72Mi", "108Mi"]);
    expect(record.attempts.map(({ exitCode }) => exitCode)).toEqual([137, 137, 137, 0]);
  });

  it("oom: at the queue's limit it is dead, though attempts are left", async () => {
    const { record, entries } = await jobs.end("fail-oom-cap", ["oom", "oom"]);
    expect(await memoryLimits("fail-oom-cap", "four")).toEqual(["72Mi", "108Mi"]);
    expect(record.reason).toMatch(/limit of 108Mi.*retry\.oom\.limit is 108Mi/);
    expect(only(entries).reason).toBe(record.reason);
  });
});

describe("a container that exits with a code", () => {
  it("exit: three times is dead, with all that is needed to understand it and to run it again", async () => {
    const { record, entries } = await jobs.end("fail-exit", ["exit", "exit", "exit"]);
    const entry = only(entries);
    const json = (name: string): unknown => JSON.parse(entry.headers[name] ?? "null");
    expect(record.attempts.map(({ n, exitCode }) => [n, exitCode])).toEqual([1, 2, 3].map((n) => [n, 3]));
    expect(json(DLQ_HEADER.attempts)).toEqual(record.attempts);
    expect(json(DLQ_HEADER.firstError)).toBe("attempt 1: exit: container main exited with code 3");
    expect(json(DLQ_HEADER.lastError)).toBe("attempt 3: exit: container main exited with code 3");
    expect(entry.headers[DLQ_HEADER.exitCode]).toBe("3");
    expect(entry.body.toString()).toBe(exitBody);
    expect(json(DLQ_HEADER.subject)).toBe("jobs.default.fail");
    expect(json(DLQ_HEADER.headers)).toMatchObject({ traceparent: [TRACE], "X-Customer": ["ä & co"] });
    expect(json(DLQ_HEADER.trace)).toBe(TRACE);
  });

  it("exit: each attempt's log is kept, and the secret of its env is in none of them", async () => {
    const { entries } = await jobs.end("fail-exit", ["exit", "exit", "exit"]);
    const said = (attempt: number): string => `attempt ${attempt}\ntoken [redacted API_TOKEN]\nplain in-the-clear\n`;
    expect(JSON.parse(only(entries).headers[DLQ_HEADER.logTail] ?? "")).toBe(said(3));
    for (const attempt of [1, 2, 3]) expect(await logTail("fail-exit", attempt)).toBe(said(attempt));
  });

  it("exit 64: another attempt would end the same way, so there is none", async () => {
    const { record } = await jobs.end("fail-64", ["exit"]);
    expect(record.attempts[0]?.exitCode).toBe(64);
  });

  it("backoffLimit of the message wins over the queue's attempts: 0 is one, 3 are four", async () => {
    await jobs.end("fail-backoff-0", ["exit"]);
    await jobs.end("fail-backoff-3", ["exit", "exit", "exit", "exit"]);
  });
});

describe("a pod that does not start", () => {
  it("image: what cannot be pulled for long enough is dead, and its Job is stopped", async () => {
    const { record } = await jobs.end("fail-pull", ["image"]);
    expect(record.reason).toContain("127.0.0.1:1/no/such:image");
    await expect.poll(() => millrace.jobs("fail-pull", "quick"), { timeout: 30_000 }).toEqual([]);
  });

  it("image: a name that no registry could have is dead at once", async () => {
    const { record } = await jobs.end("fail-name", ["image"]);
    expect(record.reason).toContain("has an invalid name");
    expect(record.attempts[0]?.startedAt).toBeUndefined();
  });

  it("containerConfig: a ConfigMap that is not there is named in the verdict", async () => {
    const { record } = await jobs.end("fail-config", ["containerConfig"]);
    expect(record.reason).toContain('configmap "nowhere" not found');
  });

  it("neverStarted: no node takes it, which costs its only attempt nothing; it succeeds once a node does", async () => {
    const hash = millrace.hash("fail-nowhere", "quick");
    const isRetry = (event: { hash: string; kind: string }): boolean => event.hash === hash && event.kind === "retrying";
    const [retry] = await millrace.events.waitFor("its free retry", isRetry);
    expect(retry?.data).toMatchObject({ attempt: 1, class: "neverStarted", next: { attempt: 2 } });
    await millrace.kubectl(["label", "nodes", "--all", `${LATER}=yes`]);
    await jobs.end("fail-nowhere", ["neverStarted", "succeeded"], 1);
  });
});

describe("a pod that runs too long, or hardly at all", () => {
  it("deadline: costs an attempt, and what it had said is kept though Kubernetes deletes its pod", async () => {
    const { entries } = await jobs.end("fail-deadline", ["deadline"]);
    expect(await logTail("fail-deadline", 1)).toBe("still at work\n");
    expect(JSON.parse(only(entries).headers[DLQ_HEADER.logTail] ?? "")).toBe("still at work\n");
  });

  it("S5: ttlSecondsAfterFinished 0 leaves the evidence for a minute", async () => {
    await jobs.end("fail-ttl", ["succeeded"]);
    const ttl = async (): Promise<number | undefined> => (await millrace.jobs("fail-ttl"))[0]?.spec?.ttlSecondsAfterFinished;
    await expect.poll(ttl, { timeout: 30_000 }).toBe(60);
  });

  it("ten that end at once all succeed, each in its one Job", async () => {
    for (const id of TINY) {
      const { record } = await jobs.end(id, ["succeeded"]);
      expect(record.attempts[0]?.exitCode, id).toBe(0);
      expect(await millrace.jobs(id), id).toHaveLength(1);
    }
  });
});

it("leaves nothing behind, and one Job was made for each attempt", async () => {
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
  expect(await jobs.violations()).toEqual([]);
});
