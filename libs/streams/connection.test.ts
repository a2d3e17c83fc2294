import { describe, expect, it } from "vitest";
import { connectNats, payloadProblems } from "./connection.ts";

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

describe("what NATS takes at most", () => {
  it("is said when a message and what is told of its failure may not fit together", () => {
    expect(payloadProblems(2 * 1024 * 1024)).toEqual([]);
    expect(payloadProblems(undefined)).toEqual([]);
    expect(payloadProblems(1024 * 1024)).toEqual([expect.stringMatching(/at most 1048576 bytes.*max_payload to 2MiB/)]);
  });
});
