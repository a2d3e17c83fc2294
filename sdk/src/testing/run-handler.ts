import { assertNever, MillraceError } from "../../../libs/contract/errors.ts";
import { type WorkRetryConfig, workRetryConfig } from "../../../libs/contract/work-config.ts";
import { asFreshItem } from "../../../libs/contract/work-message.ts";
import { countedEnd, workDecision } from "../../../libs/contract/work-retry.ts";
import { runAttempt } from "../attempt.ts";
import { HandlerTimeout } from "../errors.ts";
import type { Outcome } from "../outcome.ts";
import type { Worker } from "../worker.ts";
import { type TestLine, type TestPublication, TestRecord } from "./test-context.ts";

/** A message as its producer published it. */
export interface TestMessage {
  /** Bytes and strings as they are; anything else as JSON. */
  readonly body: unknown;
  /** Its `Nats-Msg-Id`. Default: `test-message`. */
  readonly id?: string;
  readonly subject?: string;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
}

export interface RunHandlerOptions {
  /** From 1, default 1: the attempts before it failed. */
  readonly attempt?: number;
  /** As the chart's `workers.<name>.retry`. */
  readonly retry?: Readonly<Record<string, unknown>>;
  /** Aborted with `ShuttingDown`, `HandlerTimeout` or `LeaseLost` it is what a worker would say to its handler. */
  readonly signal?: AbortSignal;
  readonly onPublish?: (publication: TestPublication) => void;
}

/** What a worker would do with the message. */
export type TestOutcome =
  | { readonly kind: "succeeded" }
  /** `delayMs`: without the fifth by which a real pause varies. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly reason: string }
  | { readonly kind: "dead"; readonly reason: string }
  /** To be tried by another worker, as the same attempt. */
  | { readonly kind: "handedBack" }
  /** Another worker has it. */
  | { readonly kind: "lost" };

export interface HandlerRun {
  readonly outcome: TestOutcome;
  readonly published: readonly TestPublication[];
  readonly logged: readonly TestLine[];
  readonly progressed: number;
}

/** Runs a worker's handler on one message without a broker: the body is parsed and checked, and the end judged, as a worker does it. */
export async function runHandler(worker: Worker, message: TestMessage, options: RunHandlerOptions = {}): Promise<HandlerRun> {
  const { attempt = 1, retry = {}, signal, onPublish } = options;
  const { body, id = "test-message", subject = "test", headers = {} } = message;
  const record = new TestRecord(onPublish);
  const source = { stream: "TEST", seq: 1, storedAt: "1" };
  const item = asFreshItem(worker.queue, { ...source, subject, headers: { "Nats-Msg-Id": [id], ...headers } });
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(new HandlerTimeout(worker.timeoutMs)), worker.timeoutMs);
  const outcome = await runAttempt({
    worker,
    item,
    attempt,
    data: bytesOf(body),
    signal: signal === undefined ? timeout.signal : AbortSignal.any([signal, timeout.signal]),
    begin: () => undefined,
    publish: (outgoing) => record.publish(outgoing),
    renew: () => record.progress(),
    guard: () => {},
    log: record.log,
  });
  clearTimeout(timer);
  const { published, logged, progressed } = record;
  return { outcome: testOutcome(outcome, attempt, retryOf(retry)), published, logged, progressed };
}

function testOutcome(outcome: Outcome, attempt: number, retry: WorkRetryConfig): TestOutcome {
  switch (outcome.kind) {
    case "succeeded":
    case "lost":
      return { kind: outcome.kind };
    case "handBack":
      return { kind: "handedBack" };
    case "failed": {
      const { ended, askedMs } = outcome;
      // In the middle of the jitter.
      const decision = workDecision(countedEnd({ failures: attempt - 1, free: 0 }, ended), ended, retry, 0.5, askedMs);
      if (decision.kind === "retry") return { ...decision, reason: ended.reason };
      return { kind: "dead", reason: [ended.reason, decision.why].filter((part) => part !== "").join("; ") };
    }
    default:
      return assertNever(outcome);
  }
}

function bytesOf(body: unknown): Uint8Array {
  if (body instanceof Uint8Array) return body;
  return new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
}

function retryOf(values: Readonly<Record<string, unknown>>): WorkRetryConfig {
  const parsed = workRetryConfig.safeParse(values);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new MillraceError("CONFIG_INVALID", `retry: ${issue?.path.join(".")}: ${issue?.message}`);
}
