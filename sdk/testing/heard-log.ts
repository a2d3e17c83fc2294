import type { Log } from "../../libs/runtime/log.ts";

export interface Line {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A log whose lines a test awaits. */
export class HeardLog implements Log {
  readonly lines: Line[] = [];
  #waiting: { readonly matches: (lines: readonly Line[]) => boolean; readonly resolve: () => void }[] = [];

  debug(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#hear(event, fields);
  }
  info(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#hear(event, fields);
  }
  warn(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#hear(event, fields);
  }
  error(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#hear(event, fields);
  }

  of(event: string): readonly Line["fields"][] {
    return this.lines.filter((line) => line.event === event).map(({ fields }) => fields);
  }

  /** Resolves when so many lines of the event were heard. */
  async until(event: string, count = 1): Promise<readonly Line["fields"][]> {
    await this.#when((lines) => lines.filter((line) => line.event === event).length >= count);
    return this.of(event);
  }

  async #when(matches: (lines: readonly Line[]) => boolean): Promise<void> {
    if (matches(this.lines)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ matches, resolve });
    await promise;
  }

  #hear(event: string, fields: Readonly<Record<string, unknown>>): void {
    this.lines.push({ event, fields });
    this.#waiting = this.#waiting.filter(({ matches, resolve }) => {
      if (!matches(this.lines)) return true;
      resolve();
      return false;
    });
  }
}
