/** Whatever hangs is given up: a connection that nobody closed says nothing for ever. */
export async function withinLimit<Result>(
  limitMs: number,
  stop: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const limit = new AbortController();
  const expire = (): void => limit.abort(new Error(`the API server did not end its answer within ${limitMs / 1000} s`));
  const timer = setTimeout(expire, limitMs);
  try {
    return await work(AbortSignal.any([stop, limit.signal]));
  } finally {
    clearTimeout(timer);
  }
}
