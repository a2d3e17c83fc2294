import type { V1JobList } from "@kubernetes/client-node";
import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { jobSelector } from "../../libs/contract/names.ts";
import { BUCKET, bucketStream, queueOfConsumer, STREAM } from "../../libs/contract/streams.ts";
import type { KubeClient } from "../../libs/kube/client.ts";
import { jobsPath } from "../../libs/kube/jobs-api.ts";
import type { RecordStore } from "../../libs/streams/records.ts";

/** What is still held or unfinished. */
export interface Leftovers {
  /** In JOBS and in RETRY, sleeping ones too. */
  readonly messages: number;
  /** By the consumers of all queues. */
  readonly held: number;
  readonly unsettledJobs: readonly string[];
  readonly runningRecords: readonly string[];
  readonly retryingRecords: readonly string[];
  /** Consumers that nobody will use again, `<stream>/<name>`. */
  readonly strayConsumers: readonly string[];
}

export const NOTHING: Leftovers = {
  messages: 0,
  held: 0,
  unsettledJobs: [],
  runningRecords: [],
  retryingRecords: [],
  strayConsumers: [],
};

export interface LeftoverOptions {
  readonly connection: NatsConnection;
  readonly kube: KubeClient;
  readonly records: RecordStore;
  readonly instance: string;
  readonly jobsNamespaces: readonly string[];
}

/** All zero and empty when nothing runs and nothing waits. */
export async function readLeftovers({ connection, kube, records, ...where }: LeftoverOptions): Promise<Leftovers> {
  const manager = await jetstreamManager(connection);
  const signal = AbortSignal.timeout(30_000);
  const strayConsumers: string[] = [];
  let messages = 0;
  let held = 0;
  for (const stream of [STREAM.jobs, STREAM.retry, STREAM.deadLetters, bucketStream(BUCKET.records)]) {
    for await (const { name, num_ack_pending } of manager.consumers.list(stream)) {
      if (queueOfConsumer(name) === undefined) strayConsumers.push(`${stream}/${name}`);
      else held += num_ack_pending;
    }
  }
  for (const stream of [STREAM.jobs, STREAM.retry]) messages += (await manager.streams.info(stream)).state.messages;
  const query = { labelSelector: jobSelector(where.instance) };
  const lists = where.jobsNamespaces.map((name) => kube.json<V1JobList>({ method: "GET", path: jobsPath(name), query }));
  const unsettled = (await Promise.all(lists))
    .flatMap(({ items }) => items)
    .filter(({ spec }) => spec?.ttlSecondsAfterFinished === undefined);
  return {
    messages,
    held,
    unsettledJobs: unsettled.map(({ metadata }) => metadata?.name ?? ""),
    runningRecords: await records.inState("running", signal),
    retryingRecords: await records.inState("retrying", signal),
    strayConsumers,
  };
}
