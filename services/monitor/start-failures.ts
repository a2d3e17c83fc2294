/** So many different jobs in a row, and it is the cluster that cannot run what the queue asks for (design §4.5, `neverStarted`). */
const JOBS_IN_A_ROW = 3;

/**
 * Which queues' pods do not start any more. It is remembered only here: a monitor that has just begun counts a few attempts that it need not have
 * counted, which `freeLimit` forgives.
 */
export class StartFailures {
  readonly #failed = new Map<string, Set<string>>();

  neverStarted(queue: string, hash: string): void {
    const hashes = this.#failed.get(queue) ?? new Set<string>();
    // More of them say nothing more, and a queue may stand still for months.
    if (hashes.size < JOBS_IN_A_ROW) hashes.add(hash);
    this.#failed.set(queue, hashes);
  }

  started(queue: string): void {
    this.#failed.delete(queue);
  }

  /** The cluster is what is in the way: attempts that never start are not counted. */
  isBlocked(queue: string): boolean {
    return (this.#failed.get(queue)?.size ?? 0) >= JOBS_IN_A_ROW;
  }

  blockedQueues(configured: readonly string[]): string[] {
    return configured.filter((queue) => this.isBlocked(queue));
  }
}
