import type { NatsConnection } from "@nats-io/transport-node";
import type { Instance } from "../../../libs/contract/names.ts";
import type { DispatchConfig } from "../../../libs/contract/queue-config.ts";
import type { KubeClient } from "../../../libs/kube/client.ts";
import { WorkerPodsApi } from "../../../libs/kube/worker-pods-api.ts";
import type { WorkUnderWay } from "../../../libs/runtime/health.ts";
import type { Service } from "../../../libs/runtime/lifecycle.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { Metrics } from "../../../libs/runtime/metrics.ts";
import type { Broker } from "../../../libs/streams/broker.ts";
import { ClaimStore } from "../../../libs/streams/claims.ts";
import type { JobStore } from "../../../libs/streams/job-store.ts";
import type { Patience } from "../patience.ts";
import type { Sweep } from "../sweeper.ts";
import { WorkQueue } from "../work-queue.ts";
import { BusyPods } from "./busy-pods.ts";
import { ClaimsWatch } from "./claims-watch.ts";
import { HandBack } from "./hand-back.ts";
import { LiveClaims } from "./live-claims.ts";
import { RemovedWorkers } from "./removed-workers.ts";
import { StaleClaims } from "./stale-claims.ts";
import { UnroutedWork } from "./unrouted-work.ts";
import { WorkerGauges } from "./worker-gauges.ts";
import { WorkerPods } from "./worker-pods.ts";

/** Pods that are looked at at once; each look is a write for each claim of a dead one. */
const CONCURRENCY = 8;

export interface WorkerWatchOptions {
  readonly client: KubeClient;
  readonly connection: NatsConnection;
  readonly store: Pick<JobStore, "deadLetters" | "messages"> & { readonly broker: Broker };
  readonly instance: Instance;
  readonly namespace: string;
  readonly config: {
    readonly current: Pick<DispatchConfig, "workers">;
    subscribe(listener: (config: Pick<DispatchConfig, "workers">) => void): () => void;
  };
  readonly ackWaitMs: number;
  /** For how long the broker has been reached. */
  readonly upForMs: () => number;
  readonly underWay: Pick<WorkUnderWay, "begin">;
  /** How long what no worker takes is waited for. */
  readonly patience: () => Patience;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** What acts in one term of a leader. */
interface Term {
  readonly podChanged: (uid: string) => void;
  readonly lookAtAll: () => void;
}

/**
 * Watches workers' pods in every monitor; in a leader's term brings pods and claims together: what a dead process held goes back (rule W1), busy
 * pods are marked.
 */
export class WorkerWatch implements Service {
  readonly name = "worker-watch";
  readonly pods: WorkerPods;
  readonly #options: WorkerWatchOptions;
  #term: Term | undefined;
  #busy: BusyPods | undefined;

  constructor(options: WorkerWatchOptions) {
    const { client, instance, namespace, config, log } = options;
    this.#options = options;
    const onPod = (uid: string): void => this.#term?.podChanged(uid);
    const onSynced = (): void => this.#term?.lookAtAll();
    this.pods = new WorkerPods({ client, instance, namespace, config, onPod, onSynced, log });
  }

  start(): Promise<void> {
    return this.pods.start();
  }

  stop(): Promise<void> {
    return this.pods.stop();
  }

  /** For people, said by `/readyz`. */
  notes(): string[] {
    return [...this.pods.notes(), ...(this.#busy?.notes() ?? [])];
  }

  /** Made anew for each term. */
  async term(): Promise<{
    readonly services: readonly Service[];
    readonly sweeps: readonly Sweep[];
    readonly claims: ClaimsWatch;
  }> {
    const { client, namespace, connection, config, ackWaitMs, upForMs, underWay, metrics, log } = this.#options;
    const { pods } = this;
    const { broker } = this.#options.store;
    const workers = () => config.current.workers;
    const nowMs = async (): Promise<number> => Date.now() + (await broker.clockOffsetMs());
    const claimStore = new ClaimStore({ broker });
    const claims = await ClaimsWatch.open({
      connection,
      onClaim: (claim, before) => {
        const [pod, left] = [claim.claim.holder?.pod, before?.claim.holder?.pod];
        if (pod !== undefined && handBack.isSuspicious(claim)) queue.add(pod);
        if (pod !== undefined) busy.look(pod);
        if (left !== undefined && left !== pod) busy.look(left);
      },
      onGone: ({ claim: { holder } }) => {
        if (holder !== undefined) busy.look(holder.pod);
      },
      onSynced: () => lookAtAll(),
      log,
    });
    const nak = (ack: string): void => connection.publish(ack, "-NAK");
    const handBack = new HandBack({ claims, store: claimStore, pods, nak, ackWaitMs, nowMs, upForMs, workers, metrics, log });
    const busy = new BusyPods({ claims, pods, api: new WorkerPodsApi({ client, namespace }), workers, log });
    const queue = new WorkQueue({
      handle: (uid) => handBack.look(uid),
      concurrency: CONCURRENCY,
      about: (uid) => ({ pod: pods.sighting(uid)?.pod.name ?? uid }),
      underWay,
      metrics,
      log,
    });
    const lookAtAll = (): void => {
      if (!claims.isSynced()) return;
      for (const uid of claims.pods()) queue.add(uid);
      busy.lookAtAll();
      handBack.sweepReleased();
    };
    const podChanged = (uid: string): void => {
      queue.add(uid);
      busy.look(uid);
    };
    const term: Service = {
      name: "worker-term",
      start: () => {
        this.#term = { podChanged, lookAtAll };
        this.#busy = busy;
        return Promise.resolve();
      },
      stop: () => {
        this.#term = undefined;
        this.#busy = undefined;
        return Promise.resolve();
      },
    };
    const sweep = async (): Promise<void> => {
      await claims.sweep();
      lookAtAll();
    };
    const live = new LiveClaims({ claims, ackWaitMs, nowMs });
    const patience = this.#options.patience();
    const { store } = this.#options;
    const sweeps = [
      { sweep },
      new StaleClaims({ claims, store: claimStore, broker, ackWaitMs, nowMs, log }),
      await RemovedWorkers.open({
        connection,
        workers,
        isConsumerHeld: (stream, consumer) => live.isConsumerHeld(stream, consumer),
        patience,
        log,
      }),
      await UnroutedWork.open({
        connection,
        store,
        workers,
        isHeld: (stream, seq) => live.isHeld(stream, seq),
        patience,
        metrics,
        log,
      }),
      await WorkerGauges.open({ connection, workers, metrics }),
    ];
    return { services: [queue, busy, term, claims], sweeps, claims };
  }
}
