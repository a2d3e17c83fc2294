import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Told } from "../harness/witness.ts";
import { type Actor, SLEEPER_PAUSE_MS, WorkersRelease } from "./workers-release.ts";

let release: WorkersRelease;
beforeAll(async () => {
  release = await WorkersRelease.open();
});
afterAll(() => release[Symbol.asyncDispose]());

/** The broker and the DLQ of a cluster that is kept know the ids of the last run. */
const run = randomBytes(3).toString("hex");
const named = (key: string): string => `${key}-${run}`;

const lineOf = ({ what, attempt }: Told): string => `${what} ${attempt}`;
const linesOf = (key: string): string[] => release.witness.of(named(key)).map(lineOf);

/** Resolves with who told it, when: `begun 1`, `done 1`. */
async function told(key: string, line: string): Promise<Told> {
  const isIt = (entry: Told): boolean => entry.key === named(key) && lineOf(entry) === line;
  const [entry] = await release.witness.waitFor(`${line} of ${key}`, isIt);
  if (entry === undefined) throw new Error(`nobody told ${line} of ${key}`);
  return entry;
}

/** What was told of a message, in order, once its last line was: what a test sees of the streams may be ahead of what it hears. */
async function story(key: string, last: string): Promise<string[]> {
  await told(key, last);
  return linesOf(key);
}

async function deadLetter(worker: Actor, id: string) {
  // `expect.poll` knows only one test at a time.
  return vi.waitFor(
    async () => {
      const entry = (await release.deadLetters(worker)).find((each) => each.id === named(id));
      if (entry === undefined) throw new Error(`no dead letter of ${id}; ${JSON.stringify(release.witness.of(named(id)))}`);
      return entry;
    },
    { timeout: 120_000, interval: 500 },
  );
}

// They wait for pods and for pauses, each for its own worker's: beside each other.
describe.concurrent("W1: how a message's handler may end", () => {
  it("a handler that takes longer than ack_wait runs once, and so does one that blocks its event loop meanwhile", async () => {
    await Promise.all([
      release.act("steady", named("long"), ["sleep 32000"]),
      release.act("steady", named("blocked"), ["block 32000"]),
      // A worker that is free would take either of them at once.
      release.act("steady", named("free"), [`gate ${named("all-begun")}`]),
    ]);
    await Promise.all(["long", "blocked", "free"].map((key) => told(key, "begun 1")));
    await release.witness.openGate(named("all-begun"));
    await Promise.all(["long", "blocked", "free"].map((key) => told(key, "done 1")));
    expect([linesOf("long"), linesOf("blocked")]).toEqual([
      ["begun 1", "done 1"],
      ["begun 1", "done 1"],
    ]);
  });

  it("what comes to a worker whose loop is blocked is begun by another, once it is due again, and by nobody else afterwards", async () => {
    await release.act("paired", named("blocks"), ["block 45000"]);
    await told("blocks", "begun 1");
    // The only pod has room for it and has asked for it, and cannot look at it for three times its ack_wait.
    await release.act("paired", named("comes"), []);
    await Promise.all([told("comes", "done 1"), told("blocks", "done 1")]);
    // What it was given before these it has looked at when they have begun: they take every slot of both pods.
    const later = Array.from({ length: 4 }, (_, index) => `later-${index}`);
    await Promise.all(later.map((key) => release.act("paired", named(key), [`gate ${named("looked")}`])));
    await Promise.all(later.map((key) => told(key, "begun 1")));
    await release.witness.openGate(named("looked"));
    await Promise.all(later.map((key) => told(key, "done 1")));
    expect([linesOf("blocks"), linesOf("comes")]).toEqual([
      ["begun 1", "done 1"],
      ["begun 1", "done 1"],
    ]);
  });

  it("a handler that heeds its signal is ended at its time limit, and that counts", async () => {
    await release.act("hasty", named("heeds"), ["sleep 60000"]);
    const entry = await deadLetter("hasty", "heeds");
    expect([entry.class, await story("heeds", "aborted 2")]).toEqual([
      "timeout",
      ["begun 1", "aborted 1", "begun 2", "aborted 2"],
    ]);
  });

  it("one that blocks its loop beyond the limit is killed before another begins; the monitor hands it back, and that counts", async () => {
    await release.act("hasty", named("deaf"), ["block 600000"]);
    const { pod } = await told("deaf", "begun 1");
    const entry = await deadLetter("hasty", "deaf");
    expect([entry.class, entry.code]).toEqual(["timeout", "WORK_FAILED"]);
    // One whose time was up before it could say that it begins was told to stop as well.
    const lines = (await story("deaf", "begun 2")).filter((line) => !line.startsWith("aborted"));
    expect(lines).toEqual(["begun 1", "begun 2"]);
    await release.pods.waitFor("the end of who began it", "hasty", (pods) =>
      pods.every(({ name, isLeaving, restarts }) => name !== pod || isLeaving || restarts > 0),
    );
  });

  it("poison goes to the DLQ at first sight, byte for byte", async () => {
    const poison = Buffer.from([0xff, 0x00, 0x7b, 0x22]);
    await Promise.all([
      release.publish("steady", named("no-json"), poison),
      release.publish("steady", named("no-script"), '{"key":"no-script"}'),
      release.act("steady", named("hopeless"), ["dead"]),
    ]);
    const found = await Promise.all(["no-json", "no-script", "hopeless"].map((id) => deadLetter("steady", id)));
    expect(found.map((entry) => [entry.code, entry.class, entry.headers["Millrace-Deliveries"]])).toEqual([
      ["WORK_INVALID", "invalid", "1"],
      ["WORK_INVALID", "invalid", "1"],
      ["WORK_FAILED", "nonRetryable", "1"],
    ]);
    expect(found[0]?.body).toEqual(poison);
    expect(await story("hopeless", "begun 1")).toEqual(["begun 1"]);
  });

  it("an error burns the budget, and RetryLater does not; what is spent is one entry of the DLQ", async () => {
    await release.act("steady", named("fails"), ["throw"], ["later 500"], ["throw"], ["throw"]);
    const entry = await deadLetter("steady", "fails");
    expect([entry.class, entry.headers["Millrace-Deliveries"]]).toEqual(["error", "4"]);
    expect(await story("fails", "begun 4")).toEqual(["begun 1", "begun 2", "begun 3", "begun 4"]);
    expect((await release.deadLetters("steady")).filter(({ id }) => id === named("fails"))).toHaveLength(1);
  });

  it("out of memory is seen and counted: with a failure after it the budget of two is spent", async () => {
    await release.act("hasty", named("greedy"), ["oom"], ["throw"]);
    await release.pods.waitFor("OOMKilled", "hasty", (pods) => pods.some(({ lastEnd }) => lastEnd === "OOMKilled"));
    const entry = await deadLetter("hasty", "greedy");
    expect([entry.class, await story("greedy", "begun 2")]).toEqual(["error", ["begun 1", "begun 2"]]);
  });

  it("a retry that sleeps lets its Deployment fall to 0, and wakes it when it is due", async () => {
    await release.act("sleeper", named("sleeps"), ["throw"], []);
    await told("sleeps", "begun 1");
    const dueMs = await vi.waitFor(
      async () => {
        const found = await release.dueAtMs("sleeper");
        if (found === undefined) throw new Error("no retry sleeps");
        return found;
      },
      { timeout: 30_000, interval: 250 },
    );
    await release.pods.waitForNone("sleeper");
    expect(linesOf("sleeps")).toEqual(["begun 1"]);
    expect(await story("sleeps", "done 2")).toEqual(["begun 1", "begun 2", "done 2"]);
    const { atMs } = await told("sleeps", "begun 2");
    expect(atMs).toBeGreaterThanOrEqual(dueMs);
    expect((atMs - dueMs) / SLEEPER_PAUSE_MS).toBeLessThan(0.5);
    await release.pods.waitForNone("sleeper");
  });
});

it("nothing is left in the streams, and no pod of a worker without work", async () => {
  const held = () => release.heldBy("steady", "hasty", "sleeper", "paired");
  await expect.poll(held, { timeout: 60_000 }).toEqual({ waiting: 0, running: 0, asleep: 0 });
  await release.pods.waitForNone("steady", "hasty", "paired");
});
