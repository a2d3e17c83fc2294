import type { V1Job, V1JobList, V1Pod, V1PodList } from "@kubernetes/client-node";
import type { FailureClass } from "../contract/failure-class.ts";
import { ANNOTATION } from "../contract/names.ts";
import { tail } from "../contract/redaction.ts";
import type { KubeClient, KubeRequest } from "./client.ts";
import { isKubeApiError, isNotFound, isOtherUid, KubeApiError } from "./errors.ts";
import { jobView } from "./views.ts";

/** One line of a container's log; `at` is the node's time of it, when it was asked for. */
export interface LogLine {
  readonly at?: string;
  readonly text: string;
}

/** A Job whose outcome is durable, so that nothing is lost when it goes. */
export interface SettledJob {
  readonly name: string;
  readonly uid: string;
  readonly endedAt: string;
}

/** As much of a reason as a record keeps. */
const REASON_LENGTH = 500;

const PAGE = "500";

/** The API server asks the kubelet, and a node that died answers nothing. */
const LOG_TIMEOUT_MS = 3_000;

/** What one question about a log may bring into memory; people ask for several at once. */
const LOG_PART_BYTES = 4 * 2 ** 20;
const LOG_TAIL_LINES = 10_000;

/** The kubelet says so in the place of the log, with 200, when it has removed the container. */
const LOG_IS_GONE = /^(?:unable to retrieve container logs for|failed to try resolving symlinks in path) [^\n]*\n?$/;

/** Lines are longer than this, or there is little to read in them: bounds what a tail moves over the network. */
const SHORT_LINE_BYTES = 16;

/** The few calls on Jobs and pods that the engine makes. */
export class JobsApi {
  readonly #client: KubeClient;

  constructor(options: { readonly client: KubeClient }) {
    this.#client = options.client;
  }

  create(namespace: string, job: V1Job): Promise<Pick<V1Job, "metadata">> {
    return this.#client.json({ method: "POST", path: jobsPath(namespace), body: job, answer: "metadata" });
  }

  /** A quorum read, not from a watch cache; undefined when the server says 404. */
  async get(namespace: string, name: string): Promise<V1Job | undefined> {
    try {
      return await this.#client.json<V1Job>({ method: "GET", path: `${jobsPath(namespace)}/${name}` });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async pods(namespace: string, labelSelector: string): Promise<V1Pod[]> {
    const list = await this.#client.json<V1PodList>({
      method: "GET",
      path: podsPath(namespace),
      query: { labelSelector },
    });
    return list.items;
  }

  /**
   * S5: marks the Job as settled and lets it expire. The ttl alone would be no mark: admission policies give one to every new Job.
   * Guarded by uid: a Job made anew under the same name is left alone (invariant I5). False when that Job is gone.
   */
  async setTtl(namespace: string, name: string, uid: string, ttlSeconds: number): Promise<boolean> {
    return this.#unlessGone({
      method: "PATCH",
      path: `${jobsPath(namespace)}/${name}`,
      body: { metadata: { uid, annotations: { [ANNOTATION.settled]: "true" } }, spec: { ttlSecondsAfterFinished: ttlSeconds } },
    });
  }

  /**
   * J2: its pods get TERM and go, the Job stays and says why, so that any monitor can carry the Stop on. Guarded by uid as `setTtl` is.
   * `reason` is for people. False when that Job is gone.
   */
  async suspend(namespace: string, name: string, uid: string, stopClass: FailureClass, reason?: string): Promise<boolean> {
    const annotations = {
      [ANNOTATION.stop]: stopClass,
      ...(reason === undefined ? {} : { [ANNOTATION.stopReason]: reason.slice(0, REASON_LENGTH) }),
    };
    return this.#unlessGone({
      method: "PATCH",
      path: `${jobsPath(namespace)}/${name}`,
      body: { metadata: { uid, annotations }, spec: { suspend: true } },
    });
  }

  /** Background propagation: batch/v1's own default would leave the pods behind. False when that Job is gone. */
  async delete(namespace: string, name: string, uid: string): Promise<boolean> {
    return this.#unlessGone({
      method: "DELETE",
      path: `${jobsPath(namespace)}/${name}`,
      body: { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy: "Background", preconditions: { uid } },
    });
  }

  /** Each by name and uid: `deletecollection` would be a right to remove all pods of a namespace in one request. How many were there. */
  async deletePods(namespace: string, labelSelector: string): Promise<number> {
    const pods = await this.pods(namespace, labelSelector);
    const deletes = pods.map(({ metadata }) =>
      this.#unlessGone({
        method: "DELETE",
        path: `${podsPath(namespace)}/${metadata?.name}`,
        body: { kind: "DeleteOptions", apiVersion: "v1", preconditions: { uid: metadata?.uid } },
      }),
    );
    return (await Promise.all(deletes)).filter((existed) => existed).length;
  }

  /** Jobs that ended and are settled (rule S5), the longest ended first: the ones to delete when their namespace is full (rule D8). */
  async settledJobs(namespace: string, labelSelector: string): Promise<SettledJob[]> {
    const settled: SettledJob[] = [];
    let token: string | undefined;
    do {
      const list: V1JobList = await this.#client.json<V1JobList>({
        method: "GET",
        path: jobsPath(namespace),
        query: { labelSelector, limit: PAGE, ...(token === undefined ? {} : { continue: token }) },
      });
      for (const { name, uid, annotations, completedAt, failed, deleting } of list.items.map(jobView)) {
        const endedAt = completedAt ?? failed?.at;
        if (endedAt === undefined || deleting || annotations[ANNOTATION.settled] === undefined) continue;
        settled.push({ name, uid, endedAt });
      }
      // The generated type calls it `_continue`; on the wire it is what it is.
      token = (list.metadata as { readonly continue?: string } | undefined)?.continue;
    } while (token !== undefined && token !== "");
    return settled.sort((a, b) => a.endedAt.localeCompare(b.endedAt));
  }

  /**
   * The last `tailBytes` of a container's log or less, from a line's start. `limitBytes` would count from the start of the log, so the end
   * is kept here. Undefined when there is no log: the pod is gone, or its container never started.
   */
  async podLog(namespace: string, pod: string, container: string, tailBytes: number): Promise<string | undefined> {
    const tailLines = String(Math.ceil(tailBytes / SHORT_LINE_BYTES));
    const chunks = await this.#log(namespace, pod, { container, tailLines });
    if (chunks === undefined) return undefined;
    let kept = Buffer.alloc(0);
    // One byte more than is wanted tells whether the cut is at a line's start.
    for await (const chunk of chunks) kept = Buffer.concat([kept, chunk]).subarray(-(tailBytes + 1));
    const text = tail(kept, tailBytes);
    return LOG_IS_GONE.test(text) ? undefined : text;
  }

  /** For following a log by asking again: with `timestamps`, `sinceTime` is the last line's and exact. Undefined as `podLog`. */
  async podLogLines(
    namespace: string,
    pod: string,
    container: string,
    options: { readonly sinceTime?: string; readonly timestamps?: boolean } = {},
  ): Promise<readonly LogLine[] | undefined> {
    const { sinceTime, timestamps = false } = options;
    const query = {
      container,
      // From the oldest line asked for on: whoever follows asks for what comes after.
      limitBytes: String(LOG_PART_BYTES),
      ...(sinceTime === undefined ? { tailLines: String(LOG_TAIL_LINES) } : {}),
      ...(timestamps ? { timestamps: "true" } : {}),
      ...(sinceTime === undefined ? {} : { sinceTime }),
    };
    const chunks = await this.#log(namespace, pod, query);
    if (chunks === undefined) return undefined;
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    const text = Buffer.concat(parts).toString();
    const lines = (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n");
    if (text === "") return [];
    if (!timestamps) return lines.map((line) => ({ text: line }));
    const after = sinceTime === undefined ? undefined : timeKey(sinceTime);
    // The API server passes whole seconds on, so lines that the caller has already seen come again.
    return lines.map(stamped).filter(({ at }) => after === undefined || at === undefined || timeKey(at) > after);
  }

  /** The body of a log, cut off with an error after a while; undefined when there is none. */
  async #log(
    namespace: string,
    pod: string,
    query: Readonly<Record<string, string>>,
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const request: KubeRequest = {
      method: "GET",
      path: `${podsPath(namespace)}/${pod}/log`,
      query,
      signal: AbortSignal.timeout(LOG_TIMEOUT_MS),
    };
    try {
      return whole(request, await this.#client.stream(request));
    } catch (error) {
      // 400: the container is not there yet, or its log was removed with it.
      if (isKubeApiError(error) && (error.status === 400 || error.status === 404)) return undefined;
      throw error;
    }
  }

  async #unlessGone(request: {
    readonly method: "PATCH" | "DELETE";
    readonly path: string;
    readonly body: unknown;
  }): Promise<boolean> {
    try {
      await this.#client.json<unknown>({ ...request, answer: "metadata" });
      return true;
    } catch (error) {
      if (isNotFound(error) || isOtherUid(error)) return false;
      throw error;
    }
  }
}

export function jobsPath(namespace: string): string {
  return `/apis/batch/v1/namespaces/${namespace}/jobs`;
}

function podsPath(namespace: string): string {
  return `/api/v1/namespaces/${namespace}/pods`;
}

async function* whole(request: KubeRequest, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (cause) {
    throw new KubeApiError({ status: 0, reason: "NoAnswer", message: `GET ${request.path}: the log broke off`, cause });
  }
}

/** The kubelet writes `<RFC 3339 with nanoseconds> <line>`. */
function stamped(line: string): LogLine {
  const space = line.indexOf(" ");
  const at = space < 0 ? line : line.slice(0, space);
  return Number.isNaN(Date.parse(at)) ? { text: line } : { at, text: space < 0 ? "" : line.slice(space + 1) };
}

/** Sorts by time: whole seconds, then the fraction, which Go writes without its last zeros. */
function timeKey(time: string): string {
  const [, fraction = ""] = /\.(\d+)/.exec(time) ?? [];
  const seconds = Math.floor(Date.parse(time) / 1_000);
  return `${String(seconds).padStart(12, "0")}.${fraction.padEnd(9, "0")}`;
}
