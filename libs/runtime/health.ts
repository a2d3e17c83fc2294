/** One thing that must hold for the service to be useful, and why it does not. */
export interface Check {
  readonly name: string;
  /** Undefined when it holds; otherwise a sentence for the person who asks why. */
  problem(): string | undefined;
}

/**
 * `/healthz` asks the liveness checks (a restart would help), `/readyz` the readiness checks as well (waiting would help).
 *
 *   starting → serving → draining        (ready only while serving)
 *
 * While it drains the process is alive whatever the checks say: what they look at ends one after the other, and so does the process.
 */
export class Health {
  readonly #liveness: Check[] = [];
  readonly #readiness: Check[] = [];
  readonly #notes: (() => readonly string[])[] = [];
  #state: "starting" | "serving" | "draining" = "starting";

  mustLive(check: Check): void {
    this.#liveness.push(check);
  }

  mustBeReady(check: Check): void {
    this.#readiness.push(check);
  }

  /** Said by `/readyz` for people: work that stands still through no fault of this process, which a restart would not help. */
  mention(note: () => readonly string[]): void {
    this.#notes.push(note);
  }

  notes(): string[] {
    return this.#notes.flatMap((note) => note());
  }

  serve(): void {
    this.#state = "serving";
  }

  drain(): void {
    this.#state = "draining";
  }

  liveProblems(): string[] {
    return this.#state === "draining" ? [] : problems(this.#liveness);
  }

  readyProblems(): string[] {
    if (this.#state === "draining") return [this.#state];
    return [...(this.#state === "serving" ? [] : [this.#state]), ...problems([...this.#liveness, ...this.#readiness])];
  }

  /** What is asked and holds, for people: `?verbose`. */
  liveHolding(): string[] {
    return this.#state === "draining" ? [] : holding(this.#liveness);
  }

  readyHolding(): string[] {
    return this.#state === "draining" ? [] : holding([...this.#liveness, ...this.#readiness]);
  }
}

function problems(checks: readonly Check[]): string[] {
  return checks.flatMap((check) => {
    const problem = check.problem();
    return problem === undefined ? [] : [`${check.name}: ${problem}`];
  });
}

function holding(checks: readonly Check[]): string[] {
  return checks.filter((check) => check.problem() === undefined).map(({ name }) => `${name}: ok`);
}

export interface StallOptions {
  readonly stallAfterMs: number;
  readonly nowMs?: () => number;
  /** For how long nothing outside has kept the work waiting. What waits for a broker that is away does not stall. */
  readonly freeForMs?: () => number;
}

/** How long something has lasted, as far as it is this process's fault. */
class Stall {
  readonly #stallAfterMs: number;
  readonly #nowMs: () => number;
  readonly #freeForMs: () => number;

  constructor({ stallAfterMs, nowMs, freeForMs }: StallOptions) {
    this.#stallAfterMs = stallAfterMs;
    this.#nowMs = nowMs ?? (() => performance.now());
    this.#freeForMs = freeForMs ?? (() => Number.POSITIVE_INFINITY);
  }

  nowMs(): number {
    return this.#nowMs();
  }

  secondsSince(atMs: number): number | undefined {
    const lastsMs = Math.min(this.#nowMs() - atMs, this.#freeForMs());
    return lastsMs > this.#stallAfterMs ? Math.round(lastsMs / 1000) : undefined;
  }
}

/**
 * A loop that must turn: stalled when it has not said `beat` for too long.
 *
 *   at rest → (beat) turning → (rest) at rest
 */
export class Heartbeat implements Check {
  readonly name: string;
  readonly #stall: Stall;
  #beatAtMs: number | undefined;

  constructor(name: string, options: StallOptions) {
    this.name = name;
    this.#stall = new Stall(options);
  }

  beat(): void {
    this.#beatAtMs = this.#stall.nowMs();
  }

  /** The loop has ended, or has not begun. */
  rest(): void {
    this.#beatAtMs = undefined;
  }

  problem(): string | undefined {
    const seconds = this.#beatAtMs === undefined ? undefined : this.#stall.secondsSince(this.#beatAtMs);
    return seconds === undefined ? undefined : `no progress for ${seconds} s`;
  }
}

/** Pieces of work that are under way at the same time: stalled when the oldest has not ended for too long. */
export class WorkUnderWay implements Check {
  readonly name: string;
  readonly #stall: Stall;
  /** The oldest first. */
  readonly #begun = new Set<{ readonly atMs: number }>();

  constructor(name: string, options: StallOptions) {
    this.name = name;
    this.#stall = new Stall(options);
  }

  /** What is returned says that it has ended. */
  begin(): () => void {
    const work = { atMs: this.#stall.nowMs() };
    this.#begun.add(work);
    return () => void this.#begun.delete(work);
  }

  problem(): string | undefined {
    const [oldest] = this.#begun;
    const seconds = oldest === undefined ? undefined : this.#stall.secondsSince(oldest.atMs);
    return seconds === undefined ? undefined : `a piece of work has not ended for ${seconds} s`;
  }
}
