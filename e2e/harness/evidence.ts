import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { ANNOTATION, jobSelector, LABEL } from "../../libs/contract/names.ts";
import type { JobView } from "../../libs/contract/observation.ts";
import { jobRecord } from "../../libs/contract/record.ts";
import { BUCKET, bucketStream, STREAM } from "../../libs/contract/streams.ts";
import type { KubeClient } from "../../libs/kube/client.ts";
import { jobsPath } from "../../libs/kube/jobs-api.ts";
import { jobView } from "../../libs/kube/views.ts";
import { Watch } from "../../libs/kube/watch.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import type { StoredMessage } from "../../libs/streams/broker.ts";
import { headerValues, JetStreamBroker } from "../../libs/streams/jetstream-broker.ts";
import {
  type Evidence,
  heldMessage,
  type Published,
  type SeenJob,
  seenDeadLetter,
  seenEvent,
} from "../../services/testing/oracle.ts";
import { streamMessages } from "./stream-messages.ts";

/** Every Job that was ever in a namespace since this was opened, the removed ones too. */
export class JobHistory implements AsyncDisposable {
  readonly #watch: Watch<JobView>;
  readonly #seen = new Map<string, JobView>();
  readonly #gone = new Set<string>();

  private constructor(kube: KubeClient, namespace: string, instance: string) {
    this.#watch = new Watch<JobView>({
      client: kube,
      path: jobsPath(namespace),
      selector: { labelSelector: jobSelector(instance) },
      project: (object) => jobView(object as Parameters<typeof jobView>[0]),
      onChange: (change) => {
        const view = change.kind === "gone" ? change.last : change.view;
        this.#seen.set(view.uid, view);
        if (change.kind === "gone") this.#gone.add(view.uid);
      },
      log: silentLog,
    });
  }

  static async open(options: { readonly kube: KubeClient; readonly namespace: string; readonly instance: string }) {
    const history = new JobHistory(options.kube, options.namespace, options.instance);
    await history.#watch.start();
    return history;
  }

  jobs(): SeenJob[] {
    return [...this.#seen.values()].map((job) => ({
      hash: job.labels[LABEL.job] ?? "",
      attempt: Number(job.labels[LABEL.attempt]),
      life: Number(job.annotations[ANNOTATION.life]),
      uid: job.uid,
      createdAt: job.createdAt,
      live: !this.#gone.has(job.uid) && job.completedAt === undefined && job.failed === undefined,
    }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#watch.stop();
  }
}

/** What the streams say of these jobs at this moment. */
export async function gatherEvidence(options: {
  readonly connection: NatsConnection;
  readonly instance: string;
  readonly history: JobHistory;
  readonly hashes: ReadonlySet<string>;
}): Promise<Evidence> {
  const { connection, instance, history, hashes } = options;
  const of = <T extends { readonly hash: string | undefined }>(items: readonly T[]): T[] =>
    items.filter(({ hash }) => hash !== undefined && hashes.has(hash));
  const read = (stream: string): Promise<StoredMessage[]> => everyMessage(connection, stream);
  const held = [...(await read(STREAM.jobs)), ...(await read(STREAM.retry))].map((stored) => heldMessage(stored, instance));
  const events = (await read(STREAM.events)).filter(({ subject }) => hashes.has(subject.split(".")[2] ?? "")).map(seenEvent);
  const records = (await read(bucketStream(BUCKET.records)))
    .filter(({ data }) => data.length > 0)
    .map(({ data }) => jobRecord.parse(JSON.parse(new TextDecoder().decode(data))));
  const published: Published[] = [...hashes].map((hash) => ({ hash }));
  return {
    published,
    events,
    deadLetters: of((await read(STREAM.deadLetters)).map(seenDeadLetter)),
    records: of(records),
    messages: of(held),
    jobs: of(history.jobs()),
  };
}

async function everyMessage(connection: NatsConnection, stream: string): Promise<StoredMessage[]> {
  const manager = await jetstreamManager(connection);
  const { state, config } = await manager.streams.info(stream);
  // One that never held anything has no sequence to ask for.
  if (state.messages === 0) return [];
  // A work queue may have one consumer per subject only, and these messages have theirs.
  if (config.retention === "workqueue") return bySequence(connection, stream, state.first_seq, state.last_seq);
  return (await streamMessages(connection, stream)).map((message) => ({
    stream,
    subject: message.subject,
    seq: message.seq,
    storedAt: String(message.timestampNanos),
    headers: headerValues(message.headers),
    data: message.data,
  }));
}

async function bySequence(connection: NatsConnection, stream: string, first: number, last: number): Promise<StoredMessage[]> {
  const broker = await JetStreamBroker.open(connection);
  const found: StoredMessage[] = [];
  for (let seq = first; seq <= last; seq += 1) {
    const stored = await broker.bySequence(stream, seq);
    if (stored !== undefined) found.push(stored);
  }
  return found;
}
