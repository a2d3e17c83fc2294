import type { V1Job } from "@kubernetes/client-node";
import { jobSpan } from "../../libs/contract/job-span.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import type { Log } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { FakeClock } from "../../libs/runtime/testing/fake-clock.ts";
import type { Traces } from "../../libs/runtime/trace.ts";
import { openJobStore } from "../../libs/streams/job-store.ts";
import { INSTANCE } from "../../libs/streams/testing/workbench.ts";
import { Admission } from "../dispatcher/admission.ts";
import { pulledMessage } from "../dispatcher/delivery.ts";
import { Dispatcher } from "../dispatcher/dispatcher.ts";
import { Rejections } from "../dispatcher/rejections.ts";
import type { Reconciler } from "../monitor/reconciler.ts";
import { type MonitorBench, QUEUE, terminated } from "./monitor-bench.ts";

const CONFIG = {
  queues: { [QUEUE]: { retry: { attempts: 2, backoff: { initial: "0s" }, freeBackoff: { initial: "0s" } } } },
  templates: { hello: { image: "busybox" } },
};
const HISTORY_MS = 30 * 86_400_000;

/** One line of a log. */
export interface Line {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A dispatcher and a monitor over one broker and one cluster: what one of them begins the other one ends. */
export class TracedEngine {
  readonly #bench: MonitorBench;
  readonly #dispatcher: Dispatcher;
  #reconciler: Reconciler;
  readonly #traces: Traces | undefined;
  readonly #store: Awaited<ReturnType<typeof openJobStore>>;
  readonly lines: Line[] = [];

  private constructor(bench: MonitorBench, traces: Traces | undefined, store: Awaited<ReturnType<typeof openJobStore>>) {
    this.#bench = bench;
    this.#traces = traces;
    this.#store = store;
    bench.config = parseDispatchConfig(JSON.stringify(CONFIG));
    const metrics = new Metrics("test");
    const shared = { traces, metrics, log: this.#log, nowMs: Date.now, random: () => 0.5 };
    this.#dispatcher = new Dispatcher({
      ...store,
      ...shared,
      instance: INSTANCE,
      admission: new Admission({ config: () => bench.config, jobsNamespace: "jobs", historyMs: HISTORY_MS, nowMs: Date.now }),
      jobs: bench.cluster.jobs,
      rejections: new Rejections({ ...store, ...shared }),
      onNamespaceFull: () => undefined,
      ackWaitMs: 120_000,
      clock: new FakeClock(),
    });
    this.#reconciler = this.#monitor();
  }

  static async open(bench: MonitorBench, traces: Traces | undefined): Promise<TracedEngine> {
    const { connection } = bench.streams;
    const onOutcome = traces === undefined ? undefined : (record: Parameters<typeof jobSpan>[0]) => traces.add(jobSpan(record));
    return new TracedEngine(bench, traces, await openJobStore({ connection, instance: INSTANCE, onOutcome }));
  }

  /** Another monitor leads: it remembers nothing. */
  restartMonitor(): void {
    this.#reconciler = this.#monitor();
  }

  /** The next message of the stream becomes a Job, and the monitor sees it run. */
  async dispatched(stream: string = STREAM.jobs): Promise<V1Job> {
    await this.#dispatch(stream);
    const job = [...this.#bench.cluster.objects.values()].at(-1);
    if (job === undefined) throw new Error("no Job was made");
    await this.look(job);
    return job;
  }

  /** The next message of JOBS goes to the DLQ. */
  async rejected(): Promise<void> {
    await this.#dispatch(STREAM.jobs);
  }

  async look(job: V1Job): Promise<void> {
    await this.#reconciler.reconcile(job.metadata?.uid ?? "");
  }

  async ends(job: V1Job, exitCode: number): Promise<void> {
    this.#bench.cluster.end(job, exitCode === 0 ? "Complete" : "Failed", terminated(exitCode));
    await this.look(job);
  }

  /** What was said of a job, as the event's name and the attempt. */
  said(id: string): string[] {
    return this.lines.filter(({ fields }) => fields["id"] === id).map(({ event, fields }) => `${event} ${fields["attempt"]}`);
  }

  async #dispatch(stream: string): Promise<void> {
    const { config, streams } = this.#bench;
    const queue = config.queues[QUEUE];
    if (queue === undefined) throw new Error("the queue is not configured");
    const { message } = await streams.one(QUEUE, stream);
    await this.#dispatcher.dispatch([pulledMessage(message)], QUEUE, queue);
  }

  #monitor(): Reconciler {
    return this.#bench.newReconciler({ traces: this.#traces, log: this.#log }, this.#store);
  }

  readonly #write = (event: string, fields: Readonly<Record<string, unknown>> = {}): void =>
    void this.lines.push({ event, fields });
  get #log(): Log {
    return { debug: this.#write, info: this.#write, warn: this.#write, error: this.#write };
  }
}

export function podEnv(job: V1Job, name: string): string | undefined {
  return job.spec?.template.spec?.containers[0]?.env?.find((variable) => variable.name === name)?.value;
}
