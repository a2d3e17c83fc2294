/** The heartbeat thread, for so long each time. */
setTimeout(() => {
  throw new Error("the thread dies");
}, 3_000);

await import("../heartbeat-thread.ts");
