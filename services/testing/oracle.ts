import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { SOURCE_HEADER } from "../../libs/contract/event.ts";
import { messageId, openMessage } from "../../libs/contract/message-identity.ts";
import { type Instance, jobHash, messageHash } from "../../libs/contract/names.ts";
import { isTerminal, type JobRecord } from "../../libs/contract/record.ts";
import { RETRY_HEADER } from "../../libs/contract/retry-message.ts";
import { sourceKey } from "../../libs/contract/source.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { parseJobSubject, parseRetrySubject } from "../../libs/contract/subjects.ts";
import type { StoredMessage } from "../../libs/streams/broker.ts";

/** An entry of EVENTS. `source`: the header that tells who caused it. */
export interface SeenEvent {
  readonly subject: string;
  readonly source: string;
  readonly time: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** An entry of the DLQ. `hash` undefined: a message that never became a job (rule D11). */
export interface SeenDeadLetter {
  readonly subject: string;
  readonly source: string;
  readonly hash: string | undefined;
  readonly attempt: number;
  readonly life: number;
}

/** A message that JOBS or RETRY still holds. `hash` undefined: its body has no identity that can be read. */
export interface HeldMessage {
  readonly stream: string;
  readonly subject: string;
  readonly key: string;
  readonly hash: string | undefined;
  readonly messageHash: string;
}

/** A Job that the API server once accepted. */
export interface SeenJob {
  readonly hash: string;
  readonly attempt: number;
  readonly life: number;
  readonly uid: string;
  readonly createdAt: string;
  /** Whether a pod of it may still run. */
  readonly live: boolean;
}

/** What a producer was told is stored. Without a `key` its fate is told from its hash alone. */
export interface Published {
  readonly hash: string | undefined;
  readonly key?: string;
}

/** What streams and Job history say: all that the oracle knows. */
export interface Evidence {
  readonly published: readonly Published[];
  readonly events: readonly SeenEvent[];
  readonly deadLetters: readonly SeenDeadLetter[];
  readonly records: readonly JobRecord[];
  readonly messages: readonly HeldMessage[];
  readonly jobs: readonly SeenJob[];
}

export type InvariantName = "I1" | "I2" | "I3" | "I4" | "I5" | "I7" | "rest";

export interface Violation {
  readonly rule: InvariantName;
  readonly hash: string;
  readonly detail: string;
}

const OUTCOMES = new Set(["retrying", "succeeded", "dead", "cancelled"]);
/** Written of a Job only when the record has taken it. */
const RECORDED = new Set(["started", ...OUTCOMES]);
const TERMINAL = new Set(["succeeded", "dead", "cancelled"]);

/** What is written of an attempt, in the form that the rules ask about. */
interface AttemptEvent {
  readonly hash: string;
  readonly attempt: number;
  readonly kind: string;
  readonly life: number;
  readonly source: string;
  /** It carries the bytes of its message. */
  readonly keeps: boolean;
}

/** Everything that is known of one job. */
interface Job {
  readonly hash: string;
  readonly record: JobRecord | undefined;
  readonly events: readonly AttemptEvent[];
  readonly deadLetters: readonly SeenDeadLetter[];
  readonly messages: readonly HeldMessage[];
  readonly jobs: readonly SeenJob[];
}

/** Invariants I1–I5 and I7 as far as they hold at every moment, whatever is half done. */
export function violations(evidence: Evidence): Violation[] {
  const jobs = jobsOf(evidence);
  return [...[...jobs.values()].flatMap((job) => [...attemptsOf(job), ...livesOf(job)]), ...lostMessages(evidence, jobs)];
}

/** The same, and what must hold when nothing is left to do: every job has ended, everything that its end promises is there, nothing waits. */
export function violationsAtRest(evidence: Evidence): Violation[] {
  const jobs = jobsOf(evidence);
  return [
    ...violations(evidence),
    ...[...jobs.values()].flatMap((job) => [...unfinished(job)]),
    ...evidence.messages.filter(({ hash }) => hash === undefined).map((message) => waiting("", message)),
  ];
}

function* attemptsOf({ hash, record, events, jobs }: Job): Generator<Violation> {
  const recorded = new Map(record?.attempts.map(({ n, uid }) => [n, uid]));
  const spoken = events.filter(({ kind }) => RECORDED.has(kind));
  for (const [attempt, group] of Map.groupBy(spoken, (event) => event.attempt)) {
    const sources = [...new Set(group.map(({ source }) => source))];
    if (sources.length > 1) yield { rule: "I1", hash, detail: `attempt ${attempt} was settled for ${sources.join(" and ")}` };
    const outcomes = group.filter(({ kind }) => OUTCOMES.has(kind)).map(({ kind }) => kind);
    if (new Set(outcomes).size > 1) yield { rule: "I2", hash, detail: `attempt ${attempt} ended as ${outcomes.join(" and ")}` };
    const uid = recorded.get(attempt);
    for (const source of sources) {
      if (uid !== undefined && uid !== source) {
        yield { rule: "I5", hash, detail: `attempt ${attempt} is recorded as Job ${uid}, but ${source} was settled` };
      }
      const job = jobs.find((each) => each.uid === source);
      if (job !== undefined && job.attempt !== attempt) {
        yield { rule: "I5", hash, detail: `attempt ${attempt} was settled from Job ${source} of attempt ${job.attempt}` };
      }
    }
  }
  // A Job that no record took may live until it is seen (I2); of the recorded ones only one may.
  const uids = new Set(recorded.values());
  const live = jobs.filter((job) => job.live && uids.has(job.uid));
  if (live.length > 1)
    yield { rule: "I2", hash, detail: `attempts ${live.map(({ attempt }) => attempt).join(" and ")} live at once` };
}

function* livesOf({ hash, events, deadLetters, record }: Job): Generator<Violation> {
  for (const [life, group] of Map.groupBy(events, (event) => event.life)) {
    const ends = group.filter(({ kind }) => TERMINAL.has(kind));
    if (ends.length > 1) {
      yield { rule: "I7", hash, detail: `life ${life} ended ${ends.length} times: ${ends.map(nameOf).join(", ")}` };
    }
    const last = Math.max(...ends.map(({ attempt }) => attempt));
    // `created` is written before the record takes the Job (rule F1), and it may not: a cancel may come between.
    const late = group.find(({ kind, attempt }) => ends.length > 0 && RECORDED.has(kind) && attempt > last);
    if (late !== undefined) yield { rule: "I2", hash, detail: `attempt ${late.attempt} counts after life ${life} had ended` };
    const entries = deadLetters.filter((entry) => entry.life === life);
    if (entries.length > 1) yield { rule: "I4", hash, detail: `life ${life} is ${entries.length} times in the DLQ` };
    if (entries.length === 0 && ends.some(({ kind }) => kind === "dead")) {
      yield { rule: "I4", hash, detail: `life ${life} ended dead and is not in the DLQ` };
    }
  }
  for (const { life, attempt } of deadLetters) {
    const dead = record !== undefined && (record.life > life || (record.state === "dead" && record.life === life));
    if (!dead)
      yield { rule: "I4", hash, detail: `attempt ${attempt} of life ${life} is in the DLQ; its record is ${record?.state}` };
  }
}

/** I3, for every message that a producer was told is stored. */
function* lostMessages({ published, messages, deadLetters }: Evidence, jobs: ReadonlyMap<string, Job>): Generator<Violation> {
  const held = new Set(messages.map(({ key }) => key));
  const rejected = new Set(deadLetters.filter(({ hash }) => hash === undefined).map(({ source }) => source));
  const refused = new Set(published.filter(({ key }) => key !== undefined && rejected.has(key)).map(({ hash }) => hash));
  for (const { hash, key } of published) {
    if (key !== undefined && (held.has(key) || rejected.has(key))) continue;
    const job = hash === undefined ? undefined : jobs.get(hash);
    // The message that it was a duplicate of was refused later, when its Job was gone before anybody had recorded it.
    const wasDuplicate = job?.events.some(({ kind, source }) => kind === "duplicate" && source === key) === true;
    if (wasDuplicate && refused.has(hash)) continue;
    const problem = job === undefined ? "nothing is known of it" : unheld(job);
    if (problem !== undefined) yield { rule: "I3", hash: hash ?? "", detail: `message ${key ?? ""} is gone: ${problem}` };
  }
}

/** Undefined when the job's end is durable or its bytes are where the next attempt finds them. */
function unheld(job: Job): string | undefined {
  const { record, messages } = job;
  // A tombstone takes the hash of the first message that is pulled.
  const taken = record === undefined || record.messageHash === "" ? undefined : record.messageHash;
  if (messages.some((message) => taken === undefined || message.messageHash === taken)) return undefined;
  if (record === undefined) return "it has no record";
  if (isTerminal(record.state)) return effectsMissing(job, record);
  if (record.state === "running") return `its record is running, attempt ${record.attempt}`;
  const kept = job.events.some(
    ({ keeps, attempt }) => keeps && (attempt === record.budgetFrom || attempt === record.formerLifeFrom),
  );
  // Between a person's rerun and its RETRY message the bytes are in the life before; rule S2 is then still to be done.
  return kept || job.deadLetters.length > 0 ? undefined : "its record is retrying, and nothing keeps its bytes";
}

function effectsMissing({ events, deadLetters }: Job, record: JobRecord): string | undefined {
  const ended = events.some(({ kind, life }) => kind === record.state && life === record.life);
  if (!ended) return `life ${record.life} is ${record.state} without its event`;
  const entry = deadLetters.some(({ life }) => life === record.life);
  return record.state === "dead" && !entry ? `life ${record.life} is dead without its DLQ entry` : undefined;
}

function* unfinished(job: Job): Generator<Violation> {
  const { hash, record, events, messages, jobs } = job;
  for (const message of messages) yield waiting(hash, message);
  for (const { attempt, uid } of jobs.filter(({ live }) => live)) {
    yield { rule: "rest", hash, detail: `Job ${uid} of attempt ${attempt} still lives` };
  }
  if (record === undefined) return;
  // Remembered for a message that never came; whoever asked and was not answered asks again.
  if (record.messageHash === "") return;
  if (!isTerminal(record.state)) yield { rule: "rest", hash, detail: `it is ${record.state}, attempt ${record.attempt}` };
  for (let life = 1; life <= record.life; life += 1) {
    const ends = events.filter((event) => event.life === life && TERMINAL.has(event.kind)).length;
    const wanted = life < record.life || isTerminal(record.state) ? 1 : 0;
    if (ends !== wanted)
      yield { rule: "I7", hash, detail: `life ${life} of ${record.life} (${record.state}) has ${ends} terminal events` };
  }
  const missing = isTerminal(record.state) ? effectsMissing(job, record) : undefined;
  if (missing !== undefined) yield { rule: "I3", hash, detail: missing };
}

function waiting(hash: string, { subject, key }: HeldMessage): Violation {
  return { rule: "rest", hash, detail: `message ${key} still waits under ${subject}` };
}

function nameOf({ attempt, kind }: AttemptEvent): string {
  return `${attempt}.${kind}`;
}

function jobsOf(evidence: Evidence): Map<string, Job> {
  const events = Map.groupBy(evidence.events.flatMap(attemptEvent), ({ hash }) => hash);
  const records = new Map(evidence.records.map((record) => [record.hash, record]));
  const deadLetters = Map.groupBy(evidence.deadLetters, ({ hash }) => hash);
  const messages = Map.groupBy(evidence.messages, ({ hash }) => hash);
  const jobs = Map.groupBy(evidence.jobs, ({ hash }) => hash);
  const hashes = new Set([...events.keys(), ...records.keys(), ...deadLetters.keys(), ...messages.keys(), ...jobs.keys()]);
  return new Map(
    [...hashes]
      .filter((hash) => hash !== undefined)
      .map((hash) => [
        hash,
        {
          hash,
          record: records.get(hash),
          events: events.get(hash) ?? [],
          deadLetters: deadLetters.get(hash) ?? [],
          messages: messages.get(hash) ?? [],
          jobs: jobs.get(hash) ?? [],
        },
      ]),
  );
}

function attemptEvent({ subject, source, data }: SeenEvent): AttemptEvent[] {
  const [, , hash = "", attempt, kind = ""] = subject.split(".");
  if (kind === "rejected") return [];
  return [
    { hash, attempt: Number(attempt), kind, life: Number(data["life"] ?? 0), source, keeps: data["message"] !== undefined },
  ];
}

/** An entry of EVENTS as a stream holds it. */
export function seenEvent(stored: Pick<StoredMessage, "subject" | "headers" | "data">): SeenEvent {
  const event: { readonly time: string; readonly data: Record<string, unknown> } = JSON.parse(
    new TextDecoder().decode(stored.data),
  );
  return { subject: stored.subject, source: stored.headers[SOURCE_HEADER]?.[0] ?? "", time: event.time, data: event.data };
}

/** An entry of the DLQ as a stream holds it. */
export function seenDeadLetter({ subject, headers }: Pick<StoredMessage, "subject" | "headers">): SeenDeadLetter {
  const source = headers[SOURCE_HEADER]?.[0] ?? "";
  const life = headers[DLQ_HEADER.life]?.[0];
  if (life === undefined) return { subject, source, hash: undefined, attempt: 0, life: 0 };
  const [attempt, hash] = subject.split(".").reverse();
  return { subject, source, hash, attempt: Number(attempt), life: Number(life) };
}

/** A message of JOBS or RETRY as a stream holds it. */
export function heldMessage(stored: StoredMessage, instance: Instance): HeldMessage {
  const { stream, subject, headers } = stored;
  const held = { stream, subject, key: sourceKey(stored) };
  if (stream === STREAM.retry) {
    const hash = parseRetrySubject(subject)?.hash ?? /^retry\.at\.([a-z2-7]+)\.\d+$/.exec(subject)?.[1];
    // Its body may be one that a person edited; N3: the hash stays the producer's.
    return { ...held, hash, messageHash: JSON.parse(headers[RETRY_HEADER.messageHash]?.[0] ?? '""') };
  }
  const opened = openMessage(stored.data, Object.entries(headers));
  const id = opened.kind === "ok" ? messageId(opened.value, headers["Nats-Msg-Id"]?.[0] ?? "", stored) : opened;
  const queue = parseJobSubject(subject)?.queue ?? "";
  const hash = id.kind === "ok" ? jobHash(instance, queue, id.value) : undefined;
  return { ...held, hash, messageHash: messageHash(stored.data) };
}
