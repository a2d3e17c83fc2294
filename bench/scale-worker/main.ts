// The worker of the bench `scale`: says when a message reached its handler.
import { defineWorker, run } from "@millrace/worker";

const worker = defineWorker({
  queue: "push",
  async handler(ctx) {
    const atMs = Date.now();
    await ctx.publish("bench.started", { id: ctx.id, atMs });
  },
});
await run(worker);
