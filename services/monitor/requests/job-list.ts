import { currentAttempt, JOB_STATES, type JobRecord } from "../../../libs/contract/record.ts";
import type { AnswerOf, JobRow, ReceivedRequest } from "../../../libs/contract/requests.ts";
import type { IndexEntry, RecordIndex } from "../../../libs/streams/record-index.ts";
import type { RecordStore } from "../../../libs/streams/records.ts";

/** Bodies read in one go; a list is shown to a person, who asks for few. */
const CHUNK = 128;
/** The class is in bodies only; a list of a rare one must not read them all. */
const BODIES_MAX = 20_000;
const REASON_LENGTH = 200;

/** Lists records by what their headers say first, so that bodies are read only of those that can be on the list. */
export class JobList {
  readonly #records: Pick<RecordStore, "getMany">;
  readonly #index: RecordIndex;
  readonly #bytesMax: number;

  constructor(options: {
    readonly records: Pick<RecordStore, "getMany">;
    readonly index: RecordIndex;
    /** What an answer may hold. */
    readonly bytesMax: number;
  }) {
    this.#records = options.records;
    this.#index = options.index;
    this.#bytesMax = options.bytesMax;
  }

  async list(request: ReceivedRequest<"list">, signal: AbortSignal): Promise<AnswerOf<"list">> {
    const sinceMs = request.since === undefined ? Number.NEGATIVE_INFINITY : Date.parse(request.since);
    const jobs: JobRow[] = [];
    let bytes = 0;
    let read = 0;
    for await (const entries of this.#index.latestFirst(signal)) {
      const candidates = entries.filter((entry) => entry.changedAtMs >= sinceMs && headersFit(entry, request));
      for (let start = 0; start < candidates.length; start += CHUNK) {
        const chunk = candidates.slice(start, start + CHUNK);
        const unreadable = new Set<string>();
        const found = await this.#records.getMany(
          chunk.map(({ hash }) => hash),
          (hash) => unreadable.add(hash),
        );
        read += chunk.length;
        for (const entry of chunk) {
          const record = found.get(entry.hash)?.record;
          const row = record === undefined || !fits(record, request) ? undefined : jobRow(record);
          const shown = unreadable.has(entry.hash) ? unreadableRow(entry) : row;
          if (shown === undefined) continue;
          bytes += Buffer.byteLength(JSON.stringify(shown)) + 1;
          if (jobs.length === request.limit || bytes > this.#bytesMax) return { ok: true, jobs, truncated: true };
          jobs.push(shown);
        }
        if (read >= BODIES_MAX || signal.aborted) return { ok: true, jobs, truncated: true };
      }
      if ((entries.at(-1)?.changedAtMs ?? Number.POSITIVE_INFINITY) < sinceMs) break;
    }
    return { ok: true, jobs, truncated: signal.aborted };
  }
}

/** Only an attempt that failed has a class: a record that runs or succeeded cannot be on a list of one. */
function headersFit(entry: IndexEntry, request: ReceivedRequest<"list">): boolean {
  if (request.queue !== undefined && entry.queue !== request.queue) return false;
  if (request.state !== undefined) return entry.state === request.state;
  return request.class === undefined || (entry.state !== "running" && entry.state !== "succeeded");
}

/** The index may be older than the record. */
function fits(record: JobRecord, request: ReceivedRequest<"list">): boolean {
  return (
    (request.queue === undefined || record.queue === request.queue) &&
    (request.state === undefined || record.state === request.state) &&
    (request.class === undefined || currentAttempt(record)?.class === request.class)
  );
}

/** A job whose record cannot be read stands still: it is the last that may be missing from a list. */
function unreadableRow({ hash, queue, state, changedAtMs }: IndexEntry): JobRow | undefined {
  const known = JOB_STATES.find((name) => name === state);
  const at = new Date(changedAtMs).toISOString();
  const reason = "its record cannot be read; its job stands still until the record is mended or removed";
  return known && { id: `? (${hash})`, hash, queue, state: known, attempt: 0, createdAt: at, updatedAt: at, reason };
}

function jobRow(record: JobRecord): JobRow {
  const { id, hash, queue, state, attempt, createdAt, updatedAt } = record;
  const failure = currentAttempt(record)?.class;
  const reason = record.reason ?? currentAttempt(record)?.reason;
  return {
    id,
    hash,
    queue,
    state,
    attempt,
    createdAt,
    updatedAt,
    ...(failure === undefined ? {} : { class: failure }),
    ...(reason === undefined ? {} : { reason: reason.slice(0, REASON_LENGTH) }),
  };
}
