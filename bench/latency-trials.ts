import { z } from "zod";
import { jobBodies } from "./harness/job-bodies.ts";
import { openLoop } from "./harness/open-loop.ts";
import { quiet } from "./harness/quiet.ts";
import { each, type RawPoster } from "./harness/raw-poster.ts";
import { type Rig, SAID } from "./harness/rig.ts";

const createdLine = z.object({ id: z.string(), job: z.string() });
const IN_FLIGHT = 32;

/** Jobs that come one by one; each trial resolves with the milliseconds that each took from when it was due, and leaves nothing behind. */
export class LatencyTrials {
  readonly #raw: RawPoster;
  readonly #rawNamespace: string;
  readonly #engine: Rig;
  readonly #everybody: Readonly<Record<string, number>>;

  constructor(options: {
    readonly raw: RawPoster;
    /** The monitor must not see what is nobody's message. */
    readonly rawNamespace: string;
    readonly engine: Rig;
    readonly control: Readonly<Record<string, number>>;
  }) {
    this.#rawNamespace = options.rawNamespace;
    this.#raw = options.raw;
    this.#engine = options.engine;
    this.#everybody = { ...options.control, ...options.engine.pids() };
  }

  /** Jobs per second that the engine makes of messages that wait. */
  async burst(name: string, count: number): Promise<number> {
    await quiet(this.#everybody);
    const created = this.#created(count);
    const begin = await this.#engine.load(idsOf(name, count));
    const startedMs = performance.now();
    await begin();
    const done = await created;
    await this.#finish(done);
    return (count / (Math.max(...[...done.values()].map(({ atMs }) => atMs)) - startedMs)) * 1000;
  }

  async raw(name: string, count: number, perSecond: number): Promise<number[]> {
    await quiet(this.#everybody);
    const { instance, config } = this.#engine;
    const namespace = this.#rawNamespace;
    const bodies = jobBodies({ instance, namespace, config }, idsOf(name, count));
    const tookMs: number[] = [];
    await openLoop(bodies, perSecond, async ({ bytes }, dueMs) => {
      await this.#raw.post(namespace, bytes);
      tookMs.push(performance.now() - dueMs);
    });
    await this.#raw.clear(namespace);
    return tookMs;
  }

  async engine(name: string, count: number, perSecond: number): Promise<number[]> {
    await quiet(this.#everybody);
    const created = this.#created(count);
    const dueMs = new Map<string, number>();
    await openLoop(idsOf(name, count), perSecond, async (id, due) => {
      dueMs.set(id, due);
      await this.#engine.publishOne(id);
    });
    const done = await created;
    await this.#finish(done);
    return [...done].map(([id, { atMs }]) => atMs - (dueMs.get(id) ?? Number.NaN));
  }

  /** By id, when the dispatcher said that the Job was created. */
  async #created(count: number): Promise<Map<string, { readonly job: string; readonly atMs: number }>> {
    const dispatcher = this.#engine.service("dispatcher");
    const found = new Map<string, { readonly job: string; readonly atMs: number }>();
    const off = dispatcher.onLine((line, atMs) => {
      if (!line.includes(SAID.created)) return;
      const { id, job } = createdLine.parse(JSON.parse(line));
      found.set(id, { job, atMs });
    });
    await dispatcher.lines(SAID.created, count).finally(off);
    return found;
  }

  /** Lets the Jobs succeed and be settled, and removes them. */
  async #finish(done: ReadonlyMap<string, { readonly job: string }>): Promise<void> {
    const { namespace } = this.#engine;
    const settled = this.#engine.service("monitor").lines(SAID.succeeded, done.size);
    await each([...done.values()], IN_FLIGHT, ({ job }) => this.#raw.complete(namespace, job));
    await settled;
    await quiet(this.#everybody);
    await this.#raw.clear(namespace);
  }
}

function idsOf(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${name}-${n}`);
}
