import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Actor, WorkersRelease } from "./workers-release.ts";

let release: WorkersRelease;
beforeAll(async () => {
  release = await WorkersRelease.open();
});
afterAll(() => release[Symbol.asyncDispose]());

/** The broker and the DLQ of a cluster that is kept know the ids of the last run. */
const run = randomBytes(3).toString("hex");
const named = (key: string): string => `${key}-${run}`;

/** What was told of a message, in order: `begun 1`, `done 1`. */
const story = (key: string): string[] => release.witness.of(named(key)).map(({ what, attempt }) => `${what} ${attempt}`);

const begun = (key: string, attempt = 1): Promise<unknown> =>
  release.witness.waitFor(
    `the begin of attempt ${attempt} of ${key}`,
    (told) => told.key === named(key) && told.what === "begun" && told.attempt === attempt,
  );

async function done(key: string): Promise<void> {
  await release.witness.waitFor(`the end of ${key}`, (told) => told.key === named(key) && told.what === "done");
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
    await Promise.all([begun("long"), begun("blocked"), begun("free")]);
    await release.witness.openGate(named("all-begun"));
    await Promise.all([done("long"), done("blocked"), done("free")]);
    expect([story("long"), story("blocked")]).toEqual([
      ["begun 1", "done 1"],
      ["begun 1", "done 1"],
    ]);
  });

  it("a handler that heeds its signal is ended at its time limit, and that counts", async () => {
    await release.act("hasty", named("heeds"), ["sleep 60000"]);
    const entry = await deadLetter("hasty", "heeds");
    expect([entry.class, story("heeds")]).toEqual(["timeout", ["begun 1", "aborted 1", "begun 2", "aborted 2"]]);
  });

  it("one that blocks its loop beyond the limit is killed before another begins; the monitor hands it back, and that counts", async () => {
    await release.act("hasty", named("deaf"), ["block 600000"]);
    const entry = await deadLetter("hasty", "deaf");
    expect([entry.class, entry.code, story("deaf")]).toEqual(["timeout", "WORK_FAILED", ["begun 1", "begun 2"]]);
    expect(release.pods.of("hasty").some(({ restarts }) => restarts > 0)).toBe(true);
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
    expect(story("hopeless")).toEqual(["begun 1"]);
  });

  it("an error burns the budget, and RetryLater does not; what is spent is one entry of the DLQ", async () => {
    await release.act("steady", named("fails"), ["throw"], ["later 500"], ["throw"], ["throw"]);
    const entry = await deadLetter("steady", "fails");
    expect([entry.class, entry.headers["Millrace-Deliveries"]]).toEqual(["error", "4"]);
    expect(story("fails")).toEqual(["begun 1", "begun 2", "begun 3", "begun 4"]);
    expect((await release.deadLetters("steady")).filter(({ id }) => id === named("fails"))).toHaveLength(1);
  });

  it("out of memory is seen and counted: with a failure after it the budget of two is spent", async () => {
    await release.act("hasty", named("greedy"), ["oom"], ["throw"]);
    await release.pods.waitFor("OOMKilled", "hasty", (pods) => pods.some(({ lastEnd }) => lastEnd === "OOMKilled"));
    const entry = await deadLetter("hasty", "greedy");
    expect([entry.class, story("greedy")]).toEqual(["error", ["begun 1", "begun 2"]]);
  });

  it("a retry that sleeps lets its Deployment fall to 0, and wakes it when it is due", async () => {
    await release.act("sleeper", named("sleeps"), ["throw"], []);
    await begun("sleeps");
    await vi.waitFor(async () => expect(await release.asleep("sleeper")).toBe(1), { timeout: 30_000, interval: 250 });
    await release.pods.waitForNone("sleeper");
    expect(story("sleeps")).toEqual(["begun 1"]);
    await done("sleeps");
    expect(story("sleeps")).toEqual(["begun 1", "begun 2", "done 2"]);
    await release.pods.waitForNone("sleeper");
  });
});

it("nothing is left in the streams, and no pod of a worker without work", async () => {
  const held = () => release.heldBy("steady", "hasty", "sleeper");
  await expect.poll(held, { timeout: 60_000 }).toEqual({ waiting: 0, running: 0, asleep: 0 });
  await release.pods.waitForNone("steady", "hasty");
});
