import { jetstreamManager } from "@nats-io/jetstream";
import { MillraceError } from "../../libs/contract/errors.ts";
import { jobHash } from "../../libs/contract/names.ts";
import type { JobRecord } from "../../libs/contract/record.ts";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import { RecordStore } from "../../libs/streams/records.ts";
import { eventsOf, type SeenEvent } from "./outcome.ts";
import type { Session } from "./session.ts";

export interface JobReport {
  readonly record: JobRecord;
  readonly events: readonly SeenEvent[];
}

/** Everything known of a job id. Without a queue every declared queue is asked; an id on several queues must be told apart. */
export async function getJob(session: Session, id: string, queue: string | undefined): Promise<JobReport> {
  const records = await RecordStore.open(session.connection);
  const queues = queue === undefined ? session.queues : [queue];
  const found = (await Promise.all(queues.map((name) => records.get(jobHash(session.instance, name, id))))).filter(
    (stored) => stored !== undefined,
  );
  const [first, second] = found;
  if (first === undefined) throw await unknownJob(session, id, queues);
  if (second !== undefined) {
    const names = found.map(({ record }) => record.queue).join(", ");
    throw new MillraceError("ID_AMBIGUOUS", `${id} is a job on several queues: ${names}; name one with --queue`);
  }
  return { record: first.record, events: await eventsOf(session, first.record.queue, first.record.hash) };
}

async function unknownJob(session: Session, id: string, queues: readonly string[]): Promise<MillraceError> {
  const manager = await jetstreamManager(session.connection);
  const waiting = await Promise.all(
    queues
      .filter((queue) => session.queues.includes(queue))
      .map(async (queue) => {
        const info = await manager.consumers.info(STREAM.jobs, consumerName(queue));
        return `${queue}: ${info.num_pending} waiting`;
      }),
  );
  const hint =
    waiting.length === 0
      ? "that queue is not configured"
      : `it was never published, was rejected, or still waits (${waiting.join(", ")})`;
  return new MillraceError("JOB_UNKNOWN", `no job ${id} is recorded: ${hint}`);
}

export function reportText({ record, events }: JobReport): string {
  const lines = [
    `id        ${record.id}`,
    `queue     ${record.queue}`,
    `state     ${record.state}${record.reason === undefined ? "" : `: ${record.reason}`}`,
    `attempt   ${record.attempt}`,
    ...(record.job === undefined ? [] : [`job       ${record.job.namespace}/${record.job.name}`]),
    ...(record.result === undefined ? [] : [`result    ${record.result}`]),
    "",
    ...events.map(eventText),
  ];
  return lines.join("\n");
}

export function eventText(event: SeenEvent): string {
  const { attempt, node, class: failureClass, exitCode, reason } = event.data;
  const details = [
    attempt === undefined ? "" : `attempt ${attempt}`,
    node === undefined ? "" : `on ${node}`,
    failureClass ?? "",
    exitCode === undefined ? "" : `exit ${exitCode}`,
    reason ?? "",
  ];
  return `${event.time}  ${event.kind.padEnd(10)} ${details.filter((detail) => detail !== "").join(", ")}`;
}
