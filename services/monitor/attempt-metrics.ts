import type { JobRecord } from "../../libs/contract/record.ts";
import type { Ended } from "../../libs/contract/verdict.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";

/** An attempt whose outcome has just been recorded, by whoever recorded it first. */
export interface EndedAttempt {
  readonly queue: string;
  readonly state: JobRecord["state"];
  readonly verdict: Ended;
  /** When its Job was created; unknown of one that is gone. */
  readonly createdAt: string | undefined;
}

/** What the end of an attempt adds to the metrics. Times of Kubernetes are whole seconds, of the API server and of a node. */
export function countAttempt(metrics: Metrics, { queue, state, verdict, createdAt }: EndedAttempt): void {
  if (state === "succeeded") metrics.messagesProcessed.inc({ queue });
  if (state === "dead") metrics.messagesFailed.inc({ queue });
  const reason = verdict.kind === "failed" ? verdict.class : verdict.kind;
  metrics.attemptsEnded.inc({ queue, class: reason });
  if (state === "retrying") metrics.retries.inc({ queue, class: reason });
  const { startedAt, endedAt } = verdict;
  if (startedAt === undefined) return;
  metrics.jobDuration.observe({ queue, outcome: verdict.kind }, secondsBetween(startedAt, endedAt));
  if (createdAt !== undefined) metrics.startDelay.observe({ queue }, secondsBetween(createdAt, startedAt));
}

const secondsBetween = (from: string, to: string): number => Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;
