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
    return problems(this.#liveness);
  }

  readyProblems(): string[] {
    return [...(this.#state === "serving" ? [] : [this.#state]), ...problems([...this.#liveness, ...this.#readiness])];
  }
}

function problems(checks: readonly Check[]): string[] {
  return checks.flatMap((check) => {
    const problem = check.problem();
    return problem === undefined ? [] : [`${check.name}: ${problem}`];
  });
}

/** A loop that must turn: stalled when it has not said `beat` for `stallAfterMs`. */
export class Heartbeat implements Check {
  readonly name: string;
  readonly #stallAfterMs: number;
  readonly #nowMs: () => number;
  #beatAtMs: number;

  constructor(name: string, stallAfterMs: number, nowMs: () => number = () => performance.now()) {
    this.name = name;
    this.#stallAfterMs = stallAfterMs;
    this.#nowMs = nowMs;
    this.#beatAtMs = nowMs();
  }

  beat(): void {
    this.#beatAtMs = this.#nowMs();
  }

  problem(): string | undefined {
    const silentMs = this.#nowMs() - this.#beatAtMs;
    return silentMs > this.#stallAfterMs ? `no progress for ${Math.round(silentMs / 1000)} s` : undefined;
  }
}
