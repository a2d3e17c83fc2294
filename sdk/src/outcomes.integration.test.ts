import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WorkerBench } from "../testing/worker-bench.ts";
import type { Context } from "./index.ts";

let bench: WorkerBench;
const NAMES = ["good", "error"];
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES);
});
afterAll(() => bench[Symbol.asyncDispose]());

describe("a handler that returns", () => {
  it("has its message acknowledged and leaves nothing behind", async () => {
    const seen: Context<unknown>[] = [];
    const running = bench.start("good", { handler: (ctx) => void seen.push(ctx) });
    await bench.publish("good.one", { n: 1 }, { "Nats-Msg-Id": "m-1", "X-From": "test" });
    const [line] = await running.log.until("message.succeeded");
    expect(seen[0]).toMatchObject({ id: "m-1", attempt: 1, data: { n: 1 }, subject: "good.one" });
    expect(seen[0]?.headers["X-From"]).toEqual(["test"]);
    expect(line).toMatchObject({ id: "m-1", worker: "good", attempt: 1, delivery: 1 });
    await bench.settled("good");
    expect(await bench.lag("good")).toBe(0);
  });
});

describe("a handler that throws", () => {
  it("R4: has its message tried again, and leaves nothing behind when it succeeds then", async () => {
    const attempts: number[] = [];
    const running = bench.start("error", {
      handler: ({ attempt }) => {
        attempts.push(attempt);
        if (attempt < 3) throw new Error(`no such bucket\nand the body: secret`);
      },
    });
    await bench.publish("error.one", {});
    await running.log.until("message.succeeded");
    expect(attempts).toEqual([1, 2, 3]);
    expect(running.log.of("message.retried")).toMatchObject([
      { attempt: 1, class: "error", reason: "no such bucket", retryInMs: 0 },
      { attempt: 2, class: "error", reason: "no such bucket", retryInMs: 0 },
    ]);
    expect(JSON.stringify(running.log.lines)).not.toContain("secret");
    await bench.settled("error");
    expect(await bench.deadLetters("error")).toEqual([]);
  });
});
