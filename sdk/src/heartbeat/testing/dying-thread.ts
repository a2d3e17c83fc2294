import { parentPort } from "node:worker_threads";
import type { ToThread } from "../thread-messages.ts";

/** The heartbeat thread, which dies two seconds after each message that it is given to hold. */
parentPort?.on("message", ({ kind }: ToThread) => {
  if (kind !== "hold") return;
  setTimeout(() => {
    throw new Error("the thread dies");
  }, 2_000);
});

await import("../heartbeat-thread.ts");
