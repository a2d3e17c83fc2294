import { describe, expect, it } from "vitest";
import { lastWordsText, parseLastWords } from "./last-words.ts";

describe("the last words of a process that kills itself", () => {
  it.each([[[]], [["WORK.worker-resize.1", "WORK_RETRY.worker-resize.22"]]])("are read as they were written: %j", (overran) => {
    expect(parseLastWords(lastWordsText(overran))).toEqual({ overran });
  });

  it("fit into what the kubelet takes", () => {
    const keys = Array.from({ length: 500 }, (_, seq) => `WORK.worker-resize.${seq}`);
    const text = lastWordsText(keys);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4_096);
    const { overran = [] } = parseLastWords(text) ?? {};
    expect(overran.length).toBeGreaterThan(100);
    expect(overran).toEqual(keys.slice(0, overran.length));
  });

  it.each([
    undefined,
    "",
    "out of memory",
    "worker.killed-itself",
    "worker.killed-itself {",
    'worker.killed-itself {"overran":1}',
  ])("are no other message: %s", (message) => {
    expect(parseLastWords(message)).toBeUndefined();
  });
});
