import { readSync, writeSync } from "node:fs";
import { defineWorker, run } from "../src/index.ts";
import type { Task } from "./program.ts";

/** A line that is out before the event loop stands still. */
const say = (event: string, fields: object): void => void writeSync(1, `${JSON.stringify({ event, ...fields })}\n`);

defineWorker({
  queue: "program",
  handler: async ({ data, subject, attempt }) => {
    const { blocks = false, waitMs = 0 } = data as Task;
    say("handler.began", { subject, attempt });
    if (blocks) readSync(0, new Uint8Array(1));
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    say("handler.ended", { subject, attempt });
  },
});

await run();
