import { describe, expect, it } from "vitest";
import { historyProblems, longestWorkMs } from "./history-lint.ts";
import { dispatchConfig } from "./queue-config.ts";
import { overlappingSubjects, subjectsOverlap, workerConfig, workSubject } from "./work-config.ts";

const DAY_MS = 86_400_000;
const configured = (workers: object) => dispatchConfig.safeParse({ queues: {}, workers });

describe("a worker's subject", () => {
  it.each(["image-download", "images.*.resize", "images.>", "a_b.C-1"])("%s may be one", (subject) => {
    expect(workSubject.safeParse(subject).success).toBe(true);
  });

  it.each(["", ">", "*", "*.a", "jobs.default.x", "work.run.x", "dlq", "$JS.API.>", "a b", "a..b", "a.>.b", "ä", "_INBOX x"])(
    "%s may not",
    (subject) => {
      expect(workSubject.safeParse(subject).success).toBe(false);
    },
  );

  it.each([
    ["a", "a", true],
    ["a", "b", false],
    ["a.*", "a.b", true],
    ["a.>", "a.b.c", true],
    ["a.>", "a", false],
    ["a.*", "a.b.c", false],
    ["a.*.c", "a.b.*", true],
    ["a.*.c", "a.b.d", false],
  ])("%s and %s overlap: %s", (a, b, overlap) => {
    expect([subjectsOverlap(a, b), subjectsOverlap(b, a)]).toEqual([overlap, overlap]);
  });

  it("of two workers that would take the same messages both are named", () => {
    const result = configured({ one: { subject: "images.>" }, other: { subject: "images.new" } });
    expect(result.error?.issues.map(({ path, message }) => `${path.join(".")} ${message}`)).toEqual([
      "workers.one.subject takes messages of workers.other, too; on a work queue each subject has one taker",
    ]);
    expect(overlappingSubjects([{ worker: "one", subject: "a" }])).toBeUndefined();
  });
});

describe("a worker's configuration", () => {
  it("needs only a subject, and drops what only its pods need", () => {
    expect(workerConfig.parse({ subject: "a", image: "x", env: { SECRET: "1" } })).toMatchObject({ timeout: 300_000, max: 10 });
    expect(workerConfig.parse({ subject: "a", env: { SECRET: "1" } })).not.toHaveProperty("env");
  });

  it("is refused when min is more than max, or nothing has time to run", () => {
    expect(workerConfig.safeParse({ subject: "a", min: 3, max: 2 }).success).toBe(false);
    expect(workerConfig.safeParse({ subject: "a", timeout: "0s" }).success).toBe(false);
  });

  it("leaves no queue the name under which the DLQ keeps what workers gave up on", () => {
    expect(dispatchConfig.safeParse({ queues: { work: {} } }).success).toBe(false);
  });

  it("K4: fifteen deliveries with linear backoff over three days can be written down, and are checked against history", () => {
    const retry = { attempts: 15, backoff: { initial: "41m", increment: "41m", max: "24h" }, freeLimit: 0 };
    const worker = workerConfig.parse({ subject: "image-download", retry });
    const pausesMs = 41 * 60_000 * ((14 * 15) / 2);
    expect(pausesMs / DAY_MS).toBeCloseTo(2.99, 2);
    expect(longestWorkMs(worker)).toBe(15 * 300_000 + Math.ceil(pausesMs * 1.2));
    const config = dispatchConfig.parse({ queues: {}, workers: { "image-download": { subject: "image-download", retry } } });
    expect(historyProblems(config, 30 * DAY_MS)).toEqual([]);
    expect(historyProblems(config, 3 * DAY_MS)).toEqual([
      expect.stringMatching(/^workers.image-download: a message may take 3d15h .*history is 3d/),
    ]);
  });
});
