export interface Awaited {
  readonly what: string;
  readonly limitMs: number;
  /** What there is instead, for the error's message. */
  readonly seen: () => unknown;
}

/** Whoever waits for something looks again at each change, and never waits for ever: what does not come is named, with what was there instead. */
export class Changes {
  readonly #looks = new Set<() => void>();

  announce(): void {
    for (const look of this.#looks) look();
  }

  /** Resolves with the first that `find` finds, which is asked at once and at each change. */
  async until<Found>(find: () => Found | undefined, { what, limitMs, seen }: Awaited): Promise<Found> {
    const { promise, resolve, reject } = Promise.withResolvers<Found>();
    const look = (): void => {
      try {
        const found = find();
        if (found !== undefined) resolve(found);
      } catch (error) {
        reject(error);
      }
    };
    const expire = (): void => reject(new Error(`waited ${limitMs / 1000} s for ${what}; seen: ${JSON.stringify(seen())}`));
    const timer = setTimeout(expire, limitMs);
    this.#looks.add(look);
    look();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#looks.delete(look);
    }
  }

  /** Resolves when it holds. */
  async untilTrue(holds: () => boolean, awaited: Awaited): Promise<void> {
    await this.until(() => holds() || undefined, awaited);
  }
}

/** Undefined while there are fewer. */
export function atLeast<Item>(count: number, items: Item[]): Item[] | undefined {
  return items.length >= count ? items : undefined;
}
