import { errors } from "@nats-io/transport-node";

/** How a call goes. `lost`: carried out, but the answer never came. `failed`: never carried out. `stale`: answered from the past, where that can be. */
export type Fate = "ok" | "lost" | "failed" | "stale";

interface Parked {
  readonly actor: string;
  go(fate: Fate): Promise<void>;
}

interface Calls {
  readonly call: () => unknown;
  readonly past: () => unknown;
  readonly problem: () => Error;
}

export interface PortOptions<Target> {
  /** Calls that need not wait: fire and forget, or not a call to elsewhere at all. */
  readonly instead?: Partial<Target>;
  /** Answers from the past, for what may be answered so. */
  readonly stale?: Partial<Target>;
  /** What the caller sees when a call fails or its answer is lost. */
  readonly problem: (name: string) => Error;
}

/**
 * Who does what when: each call of an actor on one of its ports waits here until it is let go on. So every interleaving of every actor's steps
 * can be played, the same one again for the same choices.
 *
 *   called → parked → carried out → answered
 *                  ↘ its actor crashed: nothing ever comes back, as for a process that is gone
 */
export class Stage {
  readonly #parked: Parked[] = [];
  readonly #running = new Map<string, number>();
  #generation = 0;

  /** The port as the actor sees it. */
  port<Target extends object>(actor: string, target: Target, options: PortOptions<Target>): Target {
    const bound = (of: object, key: string | symbol): ((...args: unknown[]) => unknown) | undefined => {
      const member: unknown = Reflect.get(of, key, of);
      return typeof member === "function" ? (...args) => Reflect.apply(member, of, args) : undefined;
    };
    return new Proxy(target, {
      get: (_target, key) => {
        const instead = bound(options.instead ?? {}, key);
        const call = bound(target, key);
        if (instead !== undefined || call === undefined) return instead ?? Reflect.get(target, key, target);
        const past = bound(options.stale ?? {}, key) ?? call;
        return (...args: unknown[]) => {
          const calls = { call: () => call(...args), past: () => past(...args), problem: () => options.problem(String(key)) };
          return this.#park(actor, calls);
        };
      },
    });
  }

  /** Begins something that an actor does; `key` names it among what this actor does. False when it does just that already. */
  begin(actor: string, key: string, work: () => Promise<void>, onFailure: (error: unknown) => void = () => undefined): boolean {
    const name = `${actor} ${key}`;
    if (this.#running.has(name)) return false;
    const generation = this.#generation;
    this.#running.set(name, generation);
    const ended = (): void => {
      if (this.#running.get(name) === generation) this.#running.delete(name);
    };
    work().then(ended, (error: unknown) => {
      ended();
      onFailure(error);
    });
    return true;
  }

  get parked(): number {
    return this.#parked.length;
  }

  /** Lets one parked call go on, then its actor's next ones, `times` in all; the last one meets `fate`. */
  async step(pick: number, times: number, fate: Fate): Promise<void> {
    let next = this.#parked[pick % this.#parked.length];
    const actor = next?.actor;
    for (let left = times; next !== undefined && left > 0; left -= 1) {
      this.#parked.splice(this.#parked.indexOf(next), 1);
      await next.go(left === 1 ? fate : "ok");
      await settled();
      next = this.#parked.find((parked) => parked.actor === actor);
    }
  }

  /** The process is gone: what it had under way stays as far as it came. */
  crash(actor: string): void {
    this.#generation += 1;
    for (const parked of this.#parked.filter((each) => each.actor === actor))
      this.#parked.splice(this.#parked.indexOf(parked), 1);
    for (const name of [...this.#running.keys()]) if (name.startsWith(`${actor} `)) this.#running.delete(name);
  }

  #park(actor: string, { call, past, problem }: Calls): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const go = async (fate: Fate): Promise<void> => {
      try {
        if (fate === "failed") throw problem();
        const answer = await (fate === "stale" ? past() : call());
        if (fate === "lost") throw problem();
        resolve(answer);
      } catch (error) {
        reject(error);
      }
    };
    this.#parked.push({ actor, go });
    return promise;
  }
}

/** When nothing that was set going can go on by itself. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function brokerTrouble(): Error {
  return new errors.TimeoutError();
}
