import { expect } from "vitest";
import type { FailureClass } from "../../libs/contract/failure-class.ts";
import type { AttemptRecord, JobRecord } from "../../libs/contract/record.ts";
import { violationsAtRest } from "../../services/testing/oracle.ts";
import { gatherEvidence, JobHistory } from "./evidence.ts";
import type { DeadLetter, Installation } from "./installation.ts";

/** How each attempt of a job has to end, in order: its class, or that it succeeded. */
export type Attempts = readonly (FailureClass | "succeeded")[];

export interface Ending {
  readonly record: JobRecord;
  /** What is in the DLQ for this id. */
  readonly entries: readonly DeadLetter[];
}

/** A suite's raw jobs: published together, so that they wait at the same time, and then asked one by one how they ended. */
export class Jobs implements AsyncDisposable {
  readonly #millrace: Installation;
  readonly #prefix: string;
  readonly #namespace: string;
  readonly #history: JobHistory;
  readonly #queues = new Map<string, string>();

  private constructor(millrace: Installation, prefix: string, namespace: string, history: JobHistory) {
    this.#millrace = millrace;
    this.#prefix = prefix;
    this.#namespace = namespace;
    this.#history = history;
  }

  static async open(millrace: Installation, prefix: string, namespace = millrace.names.jobsNamespace): Promise<Jobs> {
    const { kube, instance } = millrace;
    return new Jobs(millrace, prefix, namespace, await JobHistory.open({ kube, instance, namespace }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#history[Symbol.asyncDispose]();
  }

  /** The message of a small job that runs a script; `job` is laid over it. */
  message(id: string, script: string, job: object = {}): { readonly id: string; readonly job: object } {
    return {
      id,
      job: {
        prefixName: this.#prefix,
        namespace: this.#namespace,
        image: "busybox:latest",
        command: ["/bin/sh", "-c", script],
        resources: { requests: { cpu: "5m", memory: "4Mi" }, limits: { memory: "64Mi" } },
        ...job,
      },
    };
  }

  async publish(
    id: string,
    body: string | object,
    options: { readonly queue?: string; readonly headers?: Readonly<Record<string, string>> } = {},
  ): Promise<void> {
    const { queue = "default", headers = {} } = options;
    this.#queues.set(id, queue);
    await this.#millrace.publish(`jobs.${queue}.${this.#prefix}`, body, headers);
  }

  async run(id: string, script: string, job: object = {}, queue = "default"): Promise<void> {
    await this.publish(id, this.message(id, script, job), { queue });
  }

  /**
   * Waits for the end and asserts all that must hold of it: each attempt's class, one `created` event each, one `retrying` event for each but the last, one
   * terminal event, one DLQ entry if it is dead and else none, and how many of the attempts cost nothing.
   */
  async end(id: string, attempts: Attempts, free = 0): Promise<Ending> {
    const queue = this.#queues.get(id) ?? "default";
    const record = await this.#millrace.outcome(id, queue);
    const dead = attempts.at(-1) !== "succeeded";
    expect(record.state, id).toBe(dead ? "dead" : "succeeded");
    expect(
      record.attempts.map((attempt) => attempt.class ?? attempt.outcome),
      `${id}: ${JSON.stringify(record.attempts)}`,
    ).toEqual(attempts);
    expect(record.counts, id).toMatchObject({ free, blocked: 0 });
    const events = Object.fromEntries(
      ["created", "retrying", "succeeded", "dead", "duplicate"].map((kind) => [kind, this.#millrace.eventsOf(id, kind, queue)]),
    );
    expect(events, id).toEqual({
      created: attempts.length,
      retrying: attempts.length - 1,
      succeeded: dead ? 0 : 1,
      dead: dead ? 1 : 0,
      duplicate: 0,
    });
    const entries = (await this.#millrace.deadLetters()).filter((entry) => entry.id === id);
    expect(entries, id).toHaveLength(dead ? 1 : 0);
    if (dead) expect(entries[0], id).toMatchObject({ code: "JOB_FAILED", class: attempts.at(-1) });
    return { record, entries };
  }

  /** Of every job of this suite, or of some: the invariants, one Job per attempt among them, by streams and Job history alone. */
  async violations(ids: Iterable<string> = this.#queues.keys()): Promise<unknown[]> {
    const hashes = new Set([...ids].map((id) => this.#millrace.hash(id, this.#queues.get(id))));
    const { connection, instance } = this.#millrace;
    const evidence = await gatherEvidence({ connection, instance, history: this.#history, hashes });
    const perAttempt = Map.groupBy(evidence.jobs, ({ hash, attempt }) => `${hash}-a${attempt}`);
    const twice = [...perAttempt].filter(([, jobs]) => jobs.length > 1);
    return [...violationsAtRest(evidence), ...twice];
  }
}

export function only<T>(items: readonly T[]): T {
  const [item, ...others] = items;
  if (item === undefined || others.length > 0) throw new Error(`${items.length} instead of one`);
  return item;
}

export function memoryOf(attempts: readonly AttemptRecord[]): (string | undefined)[] {
  return attempts.map(({ memory }) => memory?.["main"]);
}
