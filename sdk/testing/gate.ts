/** A handler that ends when it is told to. */
export class Gate {
  readonly #opened = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>();
  entered = 0;

  /** Resolves when it is open. */
  async pass(): Promise<void> {
    this.entered += 1;
    for (const [count, waiting] of this.#waiting) if (count <= this.entered) waiting.resolve();
    await this.#opened.promise;
  }

  open(): void {
    this.#opened.resolve();
  }

  /** Resolves when so many wait at it. */
  async reached(count = 1): Promise<void> {
    if (this.entered >= count) return;
    const waiting = this.#waiting.get(count) ?? Promise.withResolvers<void>();
    this.#waiting.set(count, waiting);
    await waiting.promise;
  }
}
