import { setTimeout } from "node:timers/promises";

/**
 * Does `work` for each item at a fixed rate, whether the ones before are done or not: a system that stalls is charged for everybody who came
 * meanwhile (no coordinated omission). `work` is told when the item was due. Resolves when all is done.
 */
export async function openLoop<Item>(
  items: readonly Item[],
  perSecond: number,
  work: (item: Item, dueMs: number) => Promise<void>,
): Promise<void> {
  const startMs = performance.now() + 10;
  const underWay: Promise<void>[] = [];
  for (const [index, item] of items.entries()) {
    const dueMs = startMs + (index * 1000) / perSecond;
    const leftMs = dueMs - performance.now();
    // A timer is up to a millisecond late, and that falls on everybody alike; to spin until then would take a core from those who are measured.
    if (leftMs > 0) await setTimeout(leftMs);
    underWay.push(work(item, dueMs));
  }
  await Promise.all(underWay);
}
