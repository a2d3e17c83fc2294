import { type Instance, jobHash } from "../../../libs/contract/names.ts";
import type { JobRecord } from "../../../libs/contract/record.ts";
import type { JobTarget } from "../../../libs/streams/job-actions.ts";
import type { RecordStore } from "../../../libs/streams/records.ts";
import { RequestRefused } from "./refused.ts";

/** A job that a person named; without a record one of these queues may have it. */
export type Found =
  | { readonly kind: "recorded"; readonly target: JobTarget; readonly record: JobRecord }
  | { readonly kind: "unrecorded"; readonly targets: readonly JobTarget[] };

/** P1: an id stands for one job on each queue, so without a queue every declared queue's hash is tried. */
export class JobLookup {
  readonly #records: Pick<RecordStore, "get">;
  readonly #instance: Instance;
  readonly #queues: () => readonly string[];

  constructor(options: {
    readonly records: Pick<RecordStore, "get">;
    readonly instance: Instance;
    /** The configured ones. */
    readonly queues: () => readonly string[];
  }) {
    this.#records = options.records;
    this.#instance = options.instance;
    this.#queues = options.queues;
  }

  isConfigured(queue: string): boolean {
    return this.#queues().includes(queue);
  }

  async find({ id, queue }: { readonly id: string; readonly queue?: string | undefined }): Promise<Found> {
    const targets = (queue === undefined ? this.#queues() : [queue]).map((name) => ({
      queue: name,
      id,
      hash: jobHash(this.#instance, name, id),
    }));
    const recorded: Extract<Found, { kind: "recorded" }>[] = [];
    await Promise.all(
      targets.map(async (target) => {
        const stored = await this.#records.get(target.hash);
        if (stored !== undefined) recorded.push({ kind: "recorded", target, record: stored.record });
      }),
    );
    const [first, second] = recorded;
    if (first === undefined) {
      // A queue that was removed from the configuration still has its records; without one it is nothing at all.
      if (queue !== undefined && !this.isConfigured(queue)) throw this.unknownQueue(queue);
      return { kind: "unrecorded", targets };
    }
    if (second === undefined) return first;
    const names = recorded.map(({ target }) => target.queue).sort();
    throw new RequestRefused("ID_AMBIGUOUS", `${id} is a job on several queues: ${names.join(", ")}; name one with --queue`);
  }

  unknownQueue(queue: string): RequestRefused {
    const known = this.#queues().join(", ");
    return new RequestRefused("QUEUE_UNKNOWN", `no queue ${queue} is configured; there are: ${known === "" ? "none" : known}`);
  }
}
