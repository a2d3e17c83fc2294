/** Lets a process die at its n-th step: counts the calls of everything that it wraps, and fails one of them. */
export class CrashPoint {
  readonly #at: number;
  readonly #when: "before" | "after";
  #steps = 0;
  crashed = false;

  constructor(options: { readonly at: number; readonly when: "before" | "after" }) {
    this.#at = options.at;
    this.#when = options.when;
  }

  wrap<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (_target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== "function") return member;
        return async (...args: unknown[]): Promise<unknown> => {
          this.#steps += 1;
          const here = this.#steps === this.#at;
          if (this.crashed || (here && this.#when === "before")) this.#crash(key);
          const result: unknown = await Reflect.apply(member, target, args);
          if (here) this.#crash(key);
          return result;
        };
      },
    });
  }

  #crash(key: string | symbol): never {
    this.crashed = true;
    throw new Error(`crashed ${this.#when} step ${this.#at}, ${String(key)}`);
  }
}
