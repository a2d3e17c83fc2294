import { isTerminal, type JobRecord } from "../../../libs/contract/record.ts";
import type { AnswerOf, LogLine, ReceivedRequest } from "../../../libs/contract/requests.ts";
import { lastAttempt } from "../../../libs/contract/transition.ts";
import type { LogTails } from "../../../libs/streams/log-tails.ts";
import type { ClusterSight } from "./cluster-sight.ts";
import type { JobLookup } from "./job-lookup.ts";
import { RequestRefused } from "./refused.ts";

/** What of a long log is shown: its end. */
const LINES_MAX = 5_000;
const BYTES_MAX = 512 * 1024;

/** The log of an attempt: of its pod while that exists, else the tail that was kept when it failed. Whoever follows it asks again and again. */
export class JobLogs {
  readonly #lookup: JobLookup;
  readonly #cluster: ClusterSight;
  readonly #tails: Pick<LogTails, "get">;

  constructor(options: {
    readonly lookup: JobLookup;
    readonly cluster: ClusterSight;
    readonly tails: Pick<LogTails, "get">;
  }) {
    this.#lookup = options.lookup;
    this.#cluster = options.cluster;
    this.#tails = options.tails;
  }

  async logs(request: ReceivedRequest<"logs">): Promise<AnswerOf<"logs">> {
    const found = await this.#lookup.find(request);
    if (found.kind === "unrecorded") {
      throw new RequestRefused("ID_UNKNOWN", `no job ${request.id} is recorded; millrace get ${request.id} looks for it further`);
    }
    const { record } = found;
    if (record.attempt === 0 && request.attempt === undefined) return unstarted(record);
    const attempt = request.attempt ?? record.attempt;
    if (attempt > lastAttempt(record)) {
      throw new RequestRefused(
        "ATTEMPT_UNKNOWN",
        `${record.id} has had ${record.attempt} attempts; there is no attempt ${attempt}`,
      );
    }
    const live =
      !isTerminal(record.state) && (attempt > record.attempt || (attempt === record.attempt && record.state === "running"));
    const base = { ok: true, id: record.id, queue: record.queue, attempt, live } as const;
    const pod = live || request.since !== undefined ? await this.#podLog(record, attempt, request.since) : undefined;
    if (pod !== undefined) return { ...base, from: "pod", ...theEnd(pod) };
    if (live) return { ...base, from: "none", lines: [], note: "no container of it has started yet" };
    // A follower has read what the tail repeats.
    if (request.since !== undefined)
      return { ...base, from: "none", lines: [], note: "its pod is gone; what was kept has no times" };
    const kept = await this.#tails.get(record.hash, attempt);
    if (kept !== undefined) return { ...base, from: "kept", ...theEnd(textLines(kept)) };
    const left = await this.#podLog(record, attempt, undefined);
    if (left !== undefined) return { ...base, from: "pod", ...theEnd(left) };
    return { ...base, from: "none", lines: [], note: "its pod is gone, and only the logs of failed attempts are kept" };
  }

  async #podLog(record: JobRecord, attempt: number, after: string | undefined): Promise<readonly LogLine[] | undefined> {
    const uid = record.attempts.find(({ n }) => n === attempt)?.uid;
    if (uid === undefined || record.job === undefined) return undefined;
    return this.#cluster.log({ namespace: record.job.namespace, uid }, after);
  }
}

/** Its start is delayed, or it was cancelled before it had one. */
function unstarted({ id, queue, state }: JobRecord): AnswerOf<"logs"> {
  return {
    ok: true,
    id,
    queue,
    attempt: 0,
    live: !isTerminal(state),
    from: "none",
    lines: [],
    note: "no attempt of it has started",
  };
}

function textLines(text: string): LogLine[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => ({ text: line }));
}

/** As much of the end as an answer holds. */
function theEnd(lines: readonly LogLine[]): { readonly lines: LogLine[]; readonly note?: string } {
  let bytes = 0;
  let start = lines.length;
  while (start > 0 && lines.length - start < LINES_MAX) {
    bytes += Buffer.byteLength(JSON.stringify(lines[start - 1])) + 1;
    if (bytes > BYTES_MAX) break;
    start -= 1;
  }
  const shown = lines.slice(start);
  return start === 0 ? { lines: shown } : { lines: shown, note: `${start} earlier lines are not shown; kubectl logs has them` };
}
