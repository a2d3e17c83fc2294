import { traceIdOf } from "./job-trace.ts";

/** Who a log line is about. Every line about a job has these fields, as far as they are known. */
export interface LoggedJob {
  readonly id: string;
  readonly queue: string;
  readonly attempt: number;
  readonly job?: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
  readonly traceparent?: string | undefined;
}

export function jobFields({ id, queue, attempt, job, traceparent }: LoggedJob) {
  const made = job === undefined ? {} : { namespace: job.namespace, job: job.name, uid: job.uid };
  return { id, queue, attempt, ...made, ...traceIdOf({ traceparent }) };
}
