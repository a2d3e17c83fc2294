import { describe, expect, it } from "vitest";
import { followLog, type LogAnswer } from "./log-follower.ts";

const line = (second: number) => ({ at: `2026-01-01T00:00:0${second}Z`, text: `line ${second}` });
const answer = (rest: Partial<LogAnswer>): LogAnswer => ({
  ok: true,
  id: "a",
  queue: "default",
  attempt: 1,
  live: true,
  from: "pod",
  lines: [],
  ...rest,
});

/** Follows what the answers say; tells what was asked, shown and noted. */
async function follow(answers: readonly LogAnswer[], signal = new AbortController().signal) {
  const asked: object[] = [];
  const shown: string[] = [];
  const notes: string[] = [];
  await followLog({
    ask: (more) => {
      asked.push(more);
      const next = answers[asked.length - 1];
      return next === undefined ? Promise.reject(new Error("asked too often")) : Promise.resolve(next);
    },
    onLines: (lines) => shown.push(...lines.map(({ text }) => text)),
    onNote: (note) => notes.push(note),
    pause: () => Promise.resolve(),
    signal,
  });
  return { asked, shown, notes };
}

describe("millrace logs -f", () => {
  it("asks for what is later than the last line, of the same attempt, until that has ended", async () => {
    const { asked, shown } = await follow([
      answer({ lines: [line(1), line(2)] }),
      answer({}),
      answer({ live: false, lines: [line(3)] }),
    ]);
    expect(shown).toEqual(["line 1", "line 2", "line 3"]);
    const more = { attempt: 1, since: line(2).at };
    expect(asked).toEqual([{}, more, more]);
  });

  it("waits for the first attempt and says so once", async () => {
    const unstarted = answer({ attempt: 0, from: "none", note: "no attempt of it has started" });
    const { asked, notes } = await follow([unstarted, unstarted, answer({ live: false, attempt: 1, lines: [line(1)] })]);
    expect(notes).toEqual(["no attempt of it has started"]);
    expect(asked).toEqual([{}, {}, {}]);
  });

  it("an attempt that has ended is read once; that its pod is gone is no news to who has seen its lines", async () => {
    expect((await follow([answer({ live: false, from: "kept", lines: [{ text: "kept" }] })])).shown).toEqual(["kept"]);
    const gone = answer({ live: false, from: "none", note: "its pod is gone" });
    expect((await follow([answer({ lines: [line(1)] }), gone])).notes).toEqual([]);
  });

  it("ends when it is told to", async () => {
    expect((await follow([], AbortSignal.abort())).asked).toEqual([]);
  });
});
