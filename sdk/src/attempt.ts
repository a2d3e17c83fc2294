import type { Span } from "@opentelemetry/api";
import { traceIdOf } from "../../libs/contract/job-trace.ts";
import type { WorkItem } from "../../libs/contract/work-message.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Context, ContextLog } from "./context.ts";
import { LeaseLost } from "./errors.ts";
import { openData } from "./message-data.ts";
import { type HandlerResult, type Outcome, outcomeOf } from "./outcome.ts";
import type { Outgoing, Published } from "./published.ts";
import { outgoing, PublishNames } from "./publisher.ts";
import { inSpan, spanFailed, traceHeaders, traceparentOf } from "./tracing.ts";
import type { Worker } from "./worker.ts";

export interface AttemptOptions {
  readonly worker: Worker;
  readonly item: WorkItem;
  readonly attempt: number;
  readonly data: Uint8Array;
  readonly signal: AbortSignal;
  /**
   * Asked until it returns undefined, and then its schema and its handler are called in the same turn: handlers of other messages may hold up the event
   * loop for any time at each turn. An outcome: the attempt ends with that, and nothing is called.
   */
  readonly begin: () => Promise<Outcome | undefined> | undefined;
  /** Resolves when it is stored. */
  readonly publish: (message: Outgoing) => Promise<Published>;
  /** Renews the message's lease. */
  readonly renew: () => void;
  /** Throws when the handler may do nothing any more in the name of its message. */
  readonly guard: () => void;
  readonly log: Log;
}

/** What every line about an attempt says. */
export function attemptFields(item: WorkItem, attempt: number) {
  return { id: item.id, worker: item.worker, attempt, ...traceIdOf({ traceparent: traceparentOf(item) }) };
}

/** Runs the handler once, in a span of the message's trace. Never throws. */
export async function runAttempt(options: AttemptOptions): Promise<Outcome> {
  const { worker, item, attempt, signal } = options;
  return inSpan({ ...item, attempt }, async (span) => {
    const outcome = await handle(options, span);
    if (outcome.kind === "failed") spanFailed(span, outcome.ended.reason);
    return outcome;
  });

  async function handle({ begin, data: bytes }: AttemptOptions, span: Span): Promise<Outcome> {
    const ran = await ranToItsEnd(async () => {
      for (let asked = begin(); asked !== undefined; asked = begin()) {
        const early = await asked;
        if (early !== undefined) return early;
      }
      const opening = openData(worker, bytes);
      const opened = opening instanceof Promise ? await opening : opening;
      if (opened.kind === "invalid") return { kind: "failed", ended: { class: "invalid", reason: opened.reason } };
      await worker.handler(contextOf(options, opened.data, span));
      return undefined;
    });
    return ran.early ?? outcomeOf(ran.result, signal.reason);
  }
}

async function ranToItsEnd(
  run: () => Promise<Outcome | undefined>,
): Promise<{ readonly early?: Outcome | undefined; readonly result: HandlerResult }> {
  try {
    return { early: await run(), result: { kind: "returned" } };
  } catch (error) {
    return { result: { kind: "threw", error } };
  }
}

function contextOf(options: AttemptOptions, data: unknown, span: Span): Context<unknown> {
  const { item, attempt, signal, publish, renew, guard, log } = options;
  const names = new PublishNames(item);
  return {
    id: item.id,
    attempt,
    data,
    subject: item.subject,
    headers: item.headers,
    signal,
    log: boundLog(log, attemptFields(item, attempt)),
    progress() {
      guard();
      renew();
    },
    async publish(subject, body, publishOptions = {}) {
      if (signal.reason instanceof LeaseLost) throw signal.reason;
      guard();
      return publish(outgoing(subject, body, publishOptions, names, traceHeaders(span)));
    },
  };
}

export function boundLog(log: Log, bound: Readonly<Record<string, unknown>>): ContextLog {
  return {
    debug: (event, fields) => log.debug(event, { ...fields, ...bound }),
    info: (event, fields) => log.info(event, { ...fields, ...bound }),
    warn: (event, fields) => log.warn(event, { ...fields, ...bound }),
    error: (event, fields) => log.error(event, { ...fields, ...bound }),
  };
}
