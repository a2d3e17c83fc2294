import { defineWorker, run } from "../src/index.ts";

/** A worker's process, whose messages say what their handler does. */
interface Task {
  /** Holds up the event loop. */
  readonly blockMs?: number;
  /** Waits for so long, whatever the signal says. */
  readonly waitMs?: number;
}

defineWorker({
  queue: "program",
  handler: async (ctx) => {
    const { blockMs = 0, waitMs = 0 } = ctx.data as Task;
    ctx.log.info("handler.began");
    // So that the line is out before the loop stands still.
    await new Promise((resolve) => setTimeout(resolve, 50));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockMs);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  },
});

await run();
