import { errorText } from "../../../libs/contract/errors.ts";
import type { WorkerConfig } from "../../../libs/contract/work-config.ts";
import type { WorkerPod } from "../../../libs/contract/worker-end.ts";
import { isForbidden } from "../../../libs/kube/errors.ts";
import type { WorkerPodsApi } from "../../../libs/kube/worker-pods-api.ts";
import type { Service } from "../../../libs/runtime/lifecycle.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { ClaimsWatch } from "./claims-watch.ts";
import type { WorkerPods } from "./worker-pods.ts";

const COST_OF_CLAIM = 100;
const HIGHEST_COST = 100_000;

/** Between two requests for one pod. */
const EVERY_MS = 1_000;
/** How many messages a busy pod holds says less than that it is busy. */
const LEVEL_EVERY_MS = 10_000;
/** A pod between two messages is not idle. */
const IDLE_AFTER_MS = 5_000;
/** After a refusal or without an answer. */
const AGAIN_MS = 30_000;

/** What is known of the mark of one pod. */
interface Mark {
  cost: number | undefined;
  sentAtMs: number;
  idleSinceMs: number | undefined;
  timer: NodeJS.Timeout | undefined;
  isSending: boolean;
}

/**
 * Marks the pods that hold messages, so that a scale-in takes idle ones first. Of one pod:
 *
 *   idle ── claim ──► busy (marked at once) ── no claim for some seconds ──► idle (mark removed)
 *
 * Only for workers with `deletionCost`, for it needs the right to change pods. A mark that cannot be written harms nobody: what is interrupted is
 * handed back.
 */
export class BusyPods implements Service {
  readonly name = "busy-pods";
  readonly #claims: Pick<ClaimsWatch, "countOf" | "isSynced">;
  readonly #pods: Pick<WorkerPods, "sighting" | "pods">;
  readonly #api: Pick<WorkerPodsApi, "setDeletionCost">;
  readonly #workers: () => Readonly<Record<string, Pick<WorkerConfig, "deletionCost">>>;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #marks = new Map<string, Mark>();
  readonly #sending = new Set<Promise<void>>();
  #isOpen = false;
  #problem: string | undefined;

  constructor(options: {
    readonly claims: Pick<ClaimsWatch, "countOf" | "isSynced">;
    readonly pods: Pick<WorkerPods, "sighting" | "pods">;
    readonly api: Pick<WorkerPodsApi, "setDeletionCost">;
    readonly workers: () => Readonly<Record<string, Pick<WorkerConfig, "deletionCost">>>;
    readonly nowMs?: () => number;
    readonly log: Log;
  }) {
    this.#claims = options.claims;
    this.#pods = options.pods;
    this.#api = options.api;
    this.#workers = options.workers;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#log = options.log;
  }

  start(): Promise<void> {
    this.#isOpen = true;
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#isOpen = false;
    for (const { timer } of this.#marks.values()) clearTimeout(timer);
    this.#marks.clear();
    await Promise.all(this.#sending);
  }

  /** For people. */
  notes(): string[] {
    return this.#problem === undefined
      ? []
      : [`busy worker pods cannot be marked, so a scale-in may interrupt them: ${this.#problem}`];
  }

  lookAtAll(): void {
    for (const { uid } of this.#pods.pods()) this.look(uid);
  }

  /** Something changed about this pod or its claims. */
  look(uid: string): void {
    const sighting = this.#pods.sighting(uid);
    if (!this.#isOpen || !this.#claims.isSynced() || sighting === undefined) return;
    const { pod, isGone } = sighting;
    const isLeaving = isGone || pod.deletedAt !== undefined || pod.phase === "Failed" || pod.phase === "Succeeded";
    if (isLeaving) this.#forget(uid);
    else if (this.#workers()[pod.worker]?.deletionCost === true) this.#markAsNeeded(pod);
  }

  #markAsNeeded(pod: WorkerPod): void {
    const { uid } = pod;
    const mark = this.#markOf(pod);
    const cost = this.#wanted(uid, mark);
    clearTimeout(mark.timer);
    if (cost === mark.cost || mark.isSending) return;
    const waitMs = this.#dueAtMs(cost, mark) - this.#nowMs();
    if (waitMs <= 0) this.#send(pod, cost, mark);
    else mark.timer = setTimeout(() => this.look(uid), waitMs);
  }

  #markOf(pod: WorkerPod): Mark {
    const known = this.#marks.get(pod.uid);
    if (known !== undefined) return known;
    const found = pod.deletionCost === undefined ? undefined : Number(pod.deletionCost);
    const mark = {
      cost: found,
      sentAtMs: Number.NEGATIVE_INFINITY,
      idleSinceMs: undefined,
      timer: undefined,
      isSending: false,
    };
    this.#marks.set(pod.uid, mark);
    return mark;
  }

  #wanted(uid: string, mark: Mark): number | undefined {
    const count = this.#claims.countOf(uid);
    mark.idleSinceMs = count > 0 ? undefined : (mark.idleSinceMs ?? this.#nowMs());
    return count > 0 ? Math.min(HIGHEST_COST, count * COST_OF_CLAIM) : undefined;
  }

  #dueAtMs(cost: number | undefined, { cost: marked, sentAtMs, idleSinceMs }: Mark): number {
    if (cost === undefined) return Math.max(sentAtMs + EVERY_MS, (idleSinceMs ?? 0) + IDLE_AFTER_MS);
    return sentAtMs + (marked === undefined ? EVERY_MS : LEVEL_EVERY_MS);
  }

  #send(pod: WorkerPod, cost: number | undefined, mark: Mark): void {
    mark.isSending = true;
    mark.sentAtMs = this.#nowMs();
    const sent = this.#api
      .setDeletionCost(pod, cost)
      .then(() => {
        mark.cost = cost;
        this.#problem = undefined;
      })
      .catch((error: unknown) => {
        // A refusal stays one for a while: it is said once, and asked again now and then.
        mark.sentAtMs += AGAIN_MS;
        const problem = errorText(error);
        if (this.#problem === undefined || !isForbidden(error)) this.#log.warn("pod.not-marked", { pod: pod.name, problem });
        this.#problem = problem;
      })
      .finally(() => {
        mark.isSending = false;
        this.#sending.delete(sent);
        this.look(pod.uid);
      });
    this.#sending.add(sent);
  }

  #forget(uid: string): void {
    clearTimeout(this.#marks.get(uid)?.timer);
    this.#marks.delete(uid);
  }
}
