export interface ElapsedOptions {
  readonly label: string;
  readonly progress: (line: string) => void;
  readonly everyMs?: number;
}

function seconds(startedMs: number): string {
  const elapsed = (performance.now() - startedMs) / 1000;
  return elapsed < 10 ? elapsed.toFixed(1) : elapsed.toFixed(0);
}

/** A step of minutes that prints nothing looks hung: says what runs, how long already, and how long it took. */
export async function withElapsed<T>(options: ElapsedOptions, body: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  options.progress(`${options.label} …`);
  const ticker = setInterval(() => options.progress(`${options.label}: ${seconds(startedMs)} s`), options.everyMs ?? 15_000);
  try {
    const value = await body();
    options.progress(`${options.label}: done in ${seconds(startedMs)} s`);
    return value;
  } finally {
    clearInterval(ticker);
  }
}
