/** The JetStream objects of an installation (design §4.3). */
export const STREAM = {
  jobs: "JOBS",
  retry: "RETRY",
  events: "EVENTS",
  deadLetters: "DLQ",
  work: "WORK",
  workRetry: "WORK_RETRY",
} as const;
export const BUCKET = { records: "millrace_jobs", logs: "millrace_logs", claims: "millrace_claims" } as const;

/** Hints between services over core NATS: nothing depends on one arriving. */
export const SIGNAL = { namespaceFull: "millrace.signal.namespace-full" } as const;

/** The durable pull consumer of a queue, on JOBS and on RETRY: named like the queue, so that people can read it. */
export function consumerName(queue: string): string {
  return `queue-${queue}`;
}

export function queueOfConsumer(consumer: string): string | undefined {
  return consumer.startsWith("queue-") ? consumer.slice("queue-".length) : undefined;
}

/** The durable pull consumer of a worker, on WORK and on WORK_RETRY. */
export function workConsumerName(worker: string): string {
  return `worker-${worker}`;
}

export function workerOfConsumer(consumer: string): string | undefined {
  return consumer.startsWith("worker-") ? consumer.slice("worker-".length) : undefined;
}

/** The stream behind a KV bucket and the subject of a key in it (ADR-8). */
export const bucketStream = (bucket: string): string => `KV_${bucket}`;
export const bucketSubject = (bucket: string, key: string): string => `$KV.${bucket}.${key}`;

/** JetStream's error code for a failed `Nats-Expected-Last-Subject-Sequence`: the compare-and-swap of every write that must happen once. */
export const WRONG_LAST_SEQUENCE = 10071;
