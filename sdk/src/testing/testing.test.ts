import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type Context, defineWorker, LeaseLost, NonRetryable, RetryLater, ShuttingDown } from "../index.ts";
import { createTestContext, runHandler } from "./index.ts";

const schema = z.object({ url: z.string() });
const worker = (handler: (ctx: Context<{ url: string }>) => Promise<void> | void) =>
  defineWorker({ queue: "image-download", schema, handler });
const message = { body: { url: "http://a" } };

describe("createTestContext", () => {
  it("records what a handler does", async () => {
    const ctx = createTestContext({ data: { url: "http://a" }, worker: "image-download", id: "m-1" });
    const one = await ctx.publish("image-downloaded", { r2_key: "a" });
    await ctx.publish("image-downloaded", { r2_key: "a" }, { id: "other" });
    const again = await ctx.publish("image-downloaded", { r2_key: "a" }, { id: "other" });
    ctx.progress();
    ctx.log.info("image.stored", { key: "a" });
    expect(ctx.published).toEqual([
      {
        subject: "image-downloaded",
        body: '{"r2_key":"a"}',
        headers: { "Nats-Msg-Id": "image-download.m-1.image-downloaded#1" },
      },
      {
        subject: "image-downloaded",
        body: '{"r2_key":"a"}',
        headers: { "Nats-Msg-Id": "image-download.m-1.image-downloaded.other" },
      },
    ]);
    expect([one.duplicate, again.duplicate]).toEqual([false, true]);
    expect(ctx.progressed).toBe(1);
    expect(ctx.logged).toEqual([{ level: "info", event: "image.stored", fields: { key: "a" } }]);
  });

  it("aborts as a worker does", () => {
    const ctx = createTestContext({ data: undefined });
    expect(ctx.signal.aborted).toBe(false);
    ctx.abort();
    expect(ctx.signal.reason).toBeInstanceOf(ShuttingDown);
  });

  it("lets a publish fail", async () => {
    const onPublish = (): void => {
      throw new Error("no stream");
    };
    await expect(createTestContext({ data: 1, onPublish }).publish("a", {})).rejects.toThrow("no stream");
  });
});

describe("runHandler", () => {
  it("says that the message is done, and what was published for it", async () => {
    const run = await runHandler(
      worker(({ data, publish }) => publish("next", data).then(() => undefined)),
      message,
    );
    expect(run.outcome).toEqual({ kind: "succeeded" });
    expect(run.published).toMatchObject([{ subject: "next", body: '{"url":"http://a"}' }]);
  });

  it("checks the body as a worker does, without calling the handler", async () => {
    const calls: unknown[] = [];
    const counting = worker((ctx) => void calls.push(ctx));
    const refused = await runHandler(counting, { body: { url: 1 } });
    expect(refused.outcome).toMatchObject({ kind: "dead", reason: expect.stringMatching(/^url: /) });
    expect((await runHandler(counting, { body: "{nope" })).outcome).toMatchObject({ kind: "dead" });
    expect(calls).toEqual([]);
  });

  it("says when it is tried again, by the chart's values", async () => {
    const failing = worker(() => {
      throw new Error("no bucket");
    });
    const retry = { attempts: 3, backoff: { initial: "10s", increment: "5s" } };
    expect((await runHandler(failing, message, { retry })).outcome).toEqual({
      kind: "retry",
      delayMs: 10_000,
      reason: "no bucket",
    });
    expect((await runHandler(failing, message, { retry, attempt: 2 })).outcome).toMatchObject({ delayMs: 15_000 });
    expect((await runHandler(failing, message, { retry, attempt: 3 })).outcome).toEqual({
      kind: "dead",
      reason: "no bucket; all 3 attempts are used up",
    });
    await expect(runHandler(failing, message, { retry: { attempts: 0 } })).rejects.toThrow("retry: attempts");
  });

  it("says what the handler asked for", async () => {
    const throwing = (error: Error) =>
      worker(() => {
        throw error;
      });
    expect((await runHandler(throwing(new RetryLater(70)), message)).outcome).toMatchObject({ kind: "retry", delayMs: 70 });
    expect((await runHandler(throwing(new NonRetryable("never")), message)).outcome).toEqual({ kind: "dead", reason: "never" });
  });

  it.each([
    ["handedBack", new ShuttingDown()],
    ["lost", new LeaseLost()],
  ])("says %s when the handler was told to stop for that", async (kind, reason) => {
    const heeding = worker(({ signal }) => signal.throwIfAborted());
    expect((await runHandler(heeding, message, { signal: AbortSignal.abort(reason) })).outcome).toEqual({ kind });
  });
});
