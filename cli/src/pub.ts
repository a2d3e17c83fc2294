import { randomUUID } from "node:crypto";
import { jetstream } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../../libs/contract/errors.ts";
import { MSG_ID_HEADER, openMessage } from "../../libs/contract/message-identity.ts";
import { type Instance, jobHash } from "../../libs/contract/names.ts";
import { parseJobSubject } from "../../libs/contract/subjects.ts";
import { type Outcome, OutcomeWatch, type SeenEvent } from "./outcome.ts";
import { traceHeaders } from "./trace-headers.ts";

export interface PublishOptions {
  readonly connection: NatsConnection;
  readonly instance: Instance;
  readonly subject: string;
  readonly body: Uint8Array;
  /** The id of a body that names none; a random one by default. */
  readonly id: string | undefined;
  /** Of the process: `TRACEPARENT` and `TRACESTATE`, as a pipeline sets them. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface Published {
  readonly id: string;
  readonly queue: string;
  readonly hash: string | undefined;
  publish(): Promise<string>;
}

/** A message ready to be stored. A body that Millrace will refuse is published all the same: the refusal is the answer. */
export function prepare(options: PublishOptions): Published {
  const { connection, instance, subject, body } = options;
  const target = parseJobSubject(subject);
  if (target === undefined || target.type === "") {
    throw new MillraceError(
      "SUBJECT_INVALID",
      `${subject} is no subject of a job (jobs.<queue>.<type>, for example jobs.default.hello), nor can it be one of a worker`,
    );
  }
  const opened = openMessage(body);
  const named =
    opened.kind === "ok" ? (opened.value.id ?? (options.id === undefined ? opened.value.eventIdentity : undefined)) : undefined;
  const id = named ?? options.id ?? randomUUID();
  return {
    id,
    queue: target.queue,
    hash: opened.kind === "ok" ? jobHash(instance, target.queue, id) : undefined,
    async publish() {
      const head = headers();
      // No broker-side de-duplication when the body names the id: a second publish is answered by the job's record, not swallowed.
      if (named === undefined) head.set(MSG_ID_HEADER, id);
      const hasTrace = opened.kind === "ok" && opened.value.traceparent !== undefined;
      if (!hasTrace) for (const [name, value] of Object.entries(traceHeaders(options.env ?? {}))) head.set(name, value);
      const ack = await jetstream(connection).publish(subject, body, { headers: head });
      return `${ack.stream}-${ack.seq}-`;
    },
  };
}

export async function publishAndWait(
  published: Published,
  options: { readonly connection: NatsConnection; readonly timeoutMs: number; readonly onEvent: (event: SeenEvent) => void },
): Promise<Outcome> {
  const watch = new OutcomeWatch({ connection: options.connection, queue: published.queue, hash: published.hash });
  return watch.follow(() => published.publish(), AbortSignal.timeout(options.timeoutMs), options.onEvent);
}
