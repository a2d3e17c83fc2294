import { jobHash } from "../../../libs/contract/names.ts";
import { Heartbeat } from "../../../libs/runtime/health.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { Metrics } from "../../../libs/runtime/metrics.ts";
import { type JobStore, jobStore } from "../../../libs/streams/job-store.ts";
import { AttemptJudge } from "../../monitor/attempt-judge.ts";
import { LogKeeper } from "../../monitor/log-keeper.ts";
import { MissingOutcome } from "../../monitor/missing-outcome.ts";
import { Patience } from "../../monitor/patience.ts";
import { Reconciler } from "../../monitor/reconciler.ts";
import { SleepingRecords } from "../../monitor/sleeping-records.ts";
import { StartFailures } from "../../monitor/start-failures.ts";
import { Sweeper } from "../../monitor/sweeper.ts";
import type { ActorOptions } from "./actor.ts";
import { NO_LOGS } from "./actor.ts";
import { INSTANCE, QUEUE } from "./dispatcher-actor.ts";
import type { MemoryCluster } from "./memory-cluster.ts";
import { MemoryObserver } from "./memory-observer.ts";

const metrics = new Metrics("model");

/** A monitor's process: the real reconciler and sweeper on ports that the stage holds, and a watch that lags. */
export class MonitorActor {
  readonly observer: MemoryObserver;
  readonly #options: ActorOptions;
  readonly #store: JobStore;
  readonly #reconciler: Reconciler;
  readonly #sweeper: Sweeper;
  /** Jobs that something changed of since they were last looked at. */
  readonly #dirty = new Set<string>();
  #requests = 0;

  /** `watched`: the cluster as its watch sees it, with nothing held. */
  constructor(options: ActorOptions & { readonly watched: MemoryCluster }) {
    this.#options = options;
    const { broker, cluster, watched, config, nowMs } = options;
    const log = silentLog;
    const namespaces = { isGone: () => Promise.resolve(false), isLeaving: () => Promise.resolve(false) };
    this.#store = jobStore({ broker, instance: INSTANCE, logs: NO_LOGS, nowMs });
    const missing = new MissingOutcome({ store: this.#store, nowMs });
    this.observer = new MemoryObserver({ cluster: watched, onJob: (uid) => void this.#dirty.add(uid) });
    this.#reconciler = new Reconciler({
      store: this.#store,
      observer: this.observer,
      judge: new AttemptJudge({
        jobs: cluster,
        namespaces,
        logs: new LogKeeper({ jobs: cluster, tails: { put: () => Promise.resolve() }, log }),
        nowMs,
      }),
      missing,
      startFailures: new StartFailures(),
      jobs: cluster,
      config: () => config,
      nowMs,
      random: () => 0.5,
      metrics,
      log,
    });
    const sleeping = new SleepingRecords({
      store: this.#store,
      missing,
      queues: () => config.queues,
      patience: new Patience({ afterMs: 600_000, nowMs }),
      nowMs,
      metrics,
      log,
    });
    this.#sweeper = new Sweeper({
      records: this.#store.records,
      observer: this.observer,
      reconciler: this.#reconciler,
      namespaces,
      others: [sleeping],
      enqueue: (uid) => void this.#dirty.add(uid),
      intervalMs: 1,
      log,
      heartbeat: new Heartbeat("sweep", { stallAfterMs: 1 }),
      metrics,
    });
  }

  stop(): void {
    this.observer.stop();
  }

  get dirty(): number {
    return this.#dirty.size;
  }

  /** Looks at one of the Jobs that changed; at one that did not, when none did, as a sweep does. */
  reconcile(pick: number): void {
    const { stage, name } = this.#options;
    const candidates = this.#dirty.size > 0 ? [...this.#dirty] : [...this.observer.jobs()].map(({ uid }) => uid);
    const uid = candidates[pick % candidates.length];
    if (uid === undefined) return;
    const again = (): void => void this.#dirty.add(uid);
    const work = async (): Promise<void> => {
      if ((await this.#reconciler.reconcile(uid)) !== undefined) again();
    };
    if (stage.begin(name, uid, work, again)) this.#dirty.delete(uid);
  }

  sweep(): void {
    const { stage, name } = this.#options;
    stage.begin(name, "sweep", () => this.#sweeper.sweep(new AbortController().signal));
  }

  cancel(id: string): void {
    this.#request(async () => {
      const outcome = await this.#store.actions.cancel(target(id), "cancelled by somebody");
      if (outcome.kind !== "running") return;
      const { namespace, name, uid } = outcome.job;
      await this.#options.cluster.suspend(namespace, name, uid, "cancelled", "cancelled by somebody");
    });
  }

  rerun(id: string): void {
    this.#request(async () => {
      await this.#store.actions.rerun(target(id), "run again by somebody");
    });
  }

  #request(work: () => Promise<void>): void {
    this.#requests += 1;
    this.#options.stage.begin(this.#options.name, `request ${this.#requests}`, work);
  }
}

function target(id: string) {
  return { id, hash: jobHash(INSTANCE, QUEUE, id), queue: QUEUE };
}
