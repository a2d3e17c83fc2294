import { describe, expect, it } from "vitest";
import { HandlerTimeout, LeaseLost, NonRetryable, RetryLater, ShuttingDown } from "./errors.ts";
import { errorLine, type HandlerResult, outcomeOf } from "./outcome.ts";

const returned: HandlerResult = { kind: "returned" };
const threw = (error: unknown): HandlerResult => ({ kind: "threw", error });
const timeout = new HandlerTimeout(90_000);

describe("what the end of a handler means", () => {
  it.each<[string, HandlerResult, unknown, object]>([
    ["it returned", returned, undefined, { kind: "succeeded" }],
    ["it returned after its time", returned, timeout, { kind: "succeeded" }],
    ["it returned while the process ends", returned, new ShuttingDown(), { kind: "succeeded" }],
    ["it returned when the message was somebody else's", returned, new LeaseLost(), { kind: "lost" }],
    ["it threw", threw(new Error("x")), undefined, { kind: "failed", ended: { class: "error", reason: "x" } }],
    [
      "it threw after its time",
      threw(new Error("aborted")),
      timeout,
      { kind: "failed", ended: { class: "timeout", reason: "the handler took longer than its timeout of 90 s" } },
    ],
    ["it threw while the process ends", threw(new Error("aborted")), new ShuttingDown(), { kind: "handBack" }],
    ["it threw when the message was somebody else's", threw(new NonRetryable("x")), new LeaseLost(), { kind: "lost" }],
    [
      "NonRetryable, whatever else is up",
      threw(new NonRetryable("x")),
      new ShuttingDown(),
      { kind: "failed", ended: { class: "nonRetryable", reason: "x" } },
    ],
    [
      "RetryLater after its time",
      threw(new RetryLater(5, "busy")),
      timeout,
      { kind: "failed", ended: { class: "later", reason: "busy" }, askedMs: 5 },
    ],
  ])("%s", (_what, result, abortedFor, expected) => {
    expect(outcomeOf(result, abortedFor)).toEqual(expected);
  });

  it("knows the errors of another copy of this package", () => {
    const foreign = { message: "x", [Symbol.for("millrace.non-retryable")]: true };
    expect(outcomeOf(threw(foreign), undefined)).toMatchObject({ kind: "failed", ended: { class: "nonRetryable" } });
  });
});

describe("the reason in logs and headers", () => {
  it.each<[unknown, string]>([
    [new Error('no bucket\n{"the":"body"}'), "no bucket"],
    [new Error("x".repeat(1_000)), "x".repeat(300)],
    [new TypeError(""), "TypeError"],
    [new Error(""), "an error without a message"],
    ["text", "text"],
    [undefined, "undefined"],
    [null, "null"],
  ])("%j: one line, cut", (error, line) => {
    expect(errorLine(error)).toBe(line);
  });
});

describe("RetryLater", () => {
  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, 1e15])("refuses %d milliseconds", (delayMs) => {
    expect(() => new RetryLater(delayMs)).toThrow(/milliseconds/);
  });
});
