import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Command, histories, historiesWithRestores } from "./testing/model/commands.ts";
import { RECORDS } from "./testing/model/memory-broker.ts";
import { World } from "./testing/model/world.ts";
import type { Violation } from "./testing/oracle.ts";

const SOAK = process.env["SOAK"] === "1";
const runs = (few: number): number => (SOAK ? few * 20 : few);
const SOAK_TIMEOUT_MS = 3_600_000;
const TIMEOUT_MS = 120_000;
const SEED = 20_261_122;

interface Broken {
  readonly after: Command | "healing";
  readonly violations: readonly Violation[];
}

async function broken(world: World, commands: readonly Command[]): Promise<Broken | undefined> {
  for (const command of commands) {
    const violations = await world.play(command);
    if (violations.length > 0) return { after: command, violations };
  }
  const violations = await world.heal();
  return violations.length > 0 ? { after: "healing", violations } : undefined;
}

async function holds(commands: readonly Command[]): Promise<void> {
  expect(await broken(new World(), commands)).toBeUndefined();
}

describe("I1-I7 hold after every step, and everything ends", () => {
  it(
    "whatever crashes, is lost, comes twice or comes late",
    () => fc.assert(fc.asyncProperty(histories, holds), { numRuns: runs(250), seed: SEED, endOnFailure: !SOAK }),
    SOAK ? SOAK_TIMEOUT_MS : TIMEOUT_MS,
  );

  it(
    "and when a store comes back with older data",
    () => fc.assert(fc.asyncProperty(historiesWithRestores, holds), { numRuns: runs(125), seed: SEED, endOnFailure: !SOAK }),
    SOAK ? SOAK_TIMEOUT_MS : TIMEOUT_MS,
  );
});

const publish: Command = { do: "publish", id: 0, body: "a" };
const pull: Command = { do: "pull", dispatcher: 0, stream: "JOBS", max: 3 };
const finish: Command = { do: "finish" };
const cancel: Command = { do: "cancel", monitor: 0, id: 0 };
const step = (times: number, pick = 0): Command => ({ do: "step", pick, times, fate: "ok" });
const end = (how: "success" | "exit", pick = 0): Command => ({ do: "end", pick, how });
const backup: Command = { do: "backup" };
const refuse = (how: "no" | "broken" | "invalid"): Command => ({ do: "refuse", how });
const see = (monitor: number): Command => ({ do: "see", monitor, count: 10 });
const wait = (ms: number): Command => ({ do: "wait", ms });
const reconcile: Command = { do: "reconcile", monitor: 0, pick: 0 };
const rerun = (monitor: number): Command => ({ do: "rerun", monitor, id: 0 });
const crash: Command = { do: "crash", actor: "monitor-0" };
/** A monitor sees everything and looks at the one Job that there is. */
const look: readonly Command[] = [see(0), reconcile, finish];
const failed: readonly Command[] = [publish, pull, finish, end("exit"), ...look];

/** Each was a counter-example once. */
describe("named cases", () => {
  const nextAttempt: readonly Command[] = [
    wait(61_000),
    { ...pull, stream: "RETRY" },
    finish,
    end("success", 1),
    see(0),
    reconcile,
    finish,
  ];
  const restored: readonly Command[] = [
    reconcile,
    finish,
    wait(7_200_000),
    { do: "collect" },
    { do: "restore", stream: RECORDS },
  ];

  it.each<{ state: string; commands: readonly Command[] }>([
    { state: "runs", commands: [publish, pull, finish, ...look, backup, end("exit"), ...look, ...nextAttempt, ...restored] },
    { state: "awaits its second attempt", commands: [...failed, backup, ...nextAttempt, ...restored] },
  ])(
    "J5: a record that is restored to when it $state takes the end that its events tell, and nothing runs again",
    async ({ commands }) => {
      const world = new World();
      for (const command of commands) await world.play(command);
      await world.heal();
      const { jobs, events, records } = world.evidence();
      expect(jobs.map(({ attempt }) => attempt)).toEqual([1, 2]);
      expect(events.filter(({ subject }) => subject.endsWith(".succeeded"))).toHaveLength(1);
      expect(records).toMatchObject([{ state: "succeeded", attempt: 2 }]);
    },
  );

  it.each<{ name: string; commands: readonly Command[] }>([
    {
      name: "P1: a cancel cut off before its event leaves the sleeping message, which then repeats it",
      commands: [...failed, cancel, step(4), crash],
    },
    {
      name: "D7: a Job that was accepted is not dead-lettered because the API server refuses it when it is delivered again",
      commands: [publish, publish, pull, finish, wait(700_000), refuse("invalid"), pull, finish],
    },
    {
      name: "P3: a rerun that comes while the former life is being settled does not take its record away from its event",
      commands: [
        ...[publish, pull, finish, ...look, end("success")],
        ...[see(0), reconcile, rerun(1), step(1, 1), step(6), crash, finish],
      ],
    },
    {
      name: "D5: a retry is no duplicate when the message that its Job was made of was put to sleep as this retry",
      commands: [
        ...[publish, pull, refuse("broken"), step(2), wait(125_000), { ...pull, dispatcher: 1 }, finish],
        ...[refuse("no"), wait(60_000), finish, ...look, { ...pull, stream: "RETRY" }, finish],
      ],
    },
  ])("$name", ({ commands }) => holds(commands));

  it("P3: the rerun of a job that was cancelled while its first Job was being made gets a Job of its own", async () => {
    const world = new World();
    const made: readonly Command[] = [publish, pull, cancel, finish, wait(125_000), pull, finish];
    const again: readonly Command[] = [rerun(0), finish, { ...pull, stream: "RETRY" }, finish];
    for (const command of [...made, ...again]) expect(await world.play(command)).toEqual([]);
    expect(world.evidence().jobs.map(({ attempt, life }) => ({ attempt, life }))).toEqual([
      { attempt: 1, life: 1 },
      { attempt: 2, life: 2 },
    ]);
    expect(await world.heal()).toEqual([]);
  });
});
