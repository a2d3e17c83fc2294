import { setImmediate } from "node:timers/promises";

const NOTHING_YET = Symbol("nothing yet");

/**
 * Groups what a source has already delivered, `max` at most: a lone item waits for nobody, a burst shares the work. A batch is complete when one
 * turn of the event loop brings nothing more. (The client's own `getPending` also counts its internal entries, and with it the end of a burst
 * waited for the next message.)
 */
export async function* batches<Item>(source: AsyncIterable<Item>, max: number): AsyncGenerator<Item[]> {
  const iterator = source[Symbol.asyncIterator]();
  let next = iterator.next();
  let batch: Item[] = [];
  for (;;) {
    const arrived = batch.length === 0 ? await next : await Promise.race([next, setImmediate(NOTHING_YET)]);
    if (arrived !== NOTHING_YET && arrived.done !== true) {
      batch.push(arrived.value);
      next = iterator.next();
      if (batch.length < max) continue;
    }
    if (batch.length > 0) yield batch;
    if (arrived !== NOTHING_YET && arrived.done === true) return;
    batch = [];
  }
}
