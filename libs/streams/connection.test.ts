import { describe, expect, it } from "vitest";
import { connectNats } from "./connection.ts";

describe("a connection that cannot be made", () => {
  it("is tried until the signal", async () => {
    const stop = new AbortController();
    const tried: string[] = [];
    const connecting = connectNats({
      settings: { NATS_URL: "nats://127.0.0.1:1" },
      name: "test",
      signal: stop.signal,
      onUnreachable: (problem) => {
        tried.push(problem);
        if (tried.length === 2) stop.abort();
      },
    });
    await expect(connecting).rejects.toMatchObject({ code: "START_CANCELLED" });
    expect(tried).toHaveLength(2);
  });
});
