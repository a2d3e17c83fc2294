import * as fc from "fast-check";
import { STREAM } from "../../../libs/contract/streams.ts";
import { RECORDS } from "./memory-broker.ts";
import type { PodEnd } from "./memory-cluster.ts";
import type { Fate } from "./stage.ts";

export const ACTORS = ["dispatcher-0", "dispatcher-1", "monitor-0", "monitor-1"] as const;

/** What producers publish. `a` and `b` under one id are a conflict; `later` sleeps first; `bad` is no message at all. */
export const BODIES = {
  a: (id: string): string => JSON.stringify({ id, template: "hello" }),
  b: (id: string): string => JSON.stringify({ id, template: "hello", params: { other: true } }),
  later: (id: string): string => JSON.stringify({ id, template: "hello", runAt: "2026-01-01T00:05:00Z" }),
  unknown: (id: string): string => JSON.stringify({ id, template: "nobody-has-this" }),
  bad: (id: string): string => `{"id": ${JSON.stringify(id)}`,
} as const;

/** What the API server says to a create. */
export const REFUSALS = {
  no: undefined,
  forbidden: { status: 403, reason: "Forbidden", message: "jobs.batch is forbidden" },
  quota: { status: 403, reason: "Forbidden", message: 'jobs.batch "x" is forbidden: exceeded quota: jobs' },
  broken: { status: 503, reason: "ServiceUnavailable", message: "the server is currently unable to handle the request" },
  invalid: { status: 422, reason: "Invalid", message: "Job.batch is invalid" },
} as const;

export const nameOf = (id: number): string => `job-${id}`;

/** Everything that may happen, as plain data: a counter-example is a list of these. `pick` chooses among what there is, modulo their number. */
export type Command =
  | { readonly do: "publish"; readonly id: number; readonly body: keyof typeof BODIES }
  | { readonly do: "pull"; readonly dispatcher: number; readonly stream: string; readonly max: number }
  /** Lets a parked call go on, then its actor's next ones; the last one meets the fate. */
  | { readonly do: "step"; readonly pick: number; readonly times: number; readonly fate: Fate }
  /** Lets everything that is under way end. */
  | { readonly do: "finish" }
  | { readonly do: "see"; readonly monitor: number; readonly count: number }
  | { readonly do: "reconcile"; readonly monitor: number; readonly pick: number }
  | { readonly do: "sweep"; readonly monitor: number }
  | { readonly do: "cancel" | "rerun"; readonly monitor: number; readonly id: number }
  | { readonly do: "start"; readonly pick: number }
  | { readonly do: "end"; readonly pick: number; readonly how: PodEnd }
  | { readonly do: "endStopped"; readonly how: "success" | "killed" }
  /** Somebody deletes a Job object. */
  | { readonly do: "remove"; readonly pick: number; readonly orphan: boolean }
  | { readonly do: "collect" }
  | { readonly do: "refuse"; readonly how: keyof typeof REFUSALS }
  | { readonly do: "crash"; readonly actor: string }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "skew"; readonly actor: string; readonly minutes: number }
  | { readonly do: "fireTwice" }
  | { readonly do: "backup" }
  | { readonly do: "restore"; readonly stream: string };

const two = fc.nat({ max: 1 });
const ids = fc.nat({ max: 1 });
const picks = fc.nat({ max: 11 });
const actors = fc.constantFrom(...ACTORS);
const command = <Given extends Command>(
  kind: Given["do"],
  rest: { [Key in Exclude<keyof Given, "do">]: fc.Arbitrary<Given[Key]> },
) => fc.record({ do: fc.constant(kind), ...rest }) as unknown as fc.Arbitrary<Command>;

const usual: fc.WeightedArbitrary<Command>[] = [
  {
    weight: 3,
    arbitrary: command("publish", {
      id: ids,
      body: fc.oneof(
        { weight: 20, arbitrary: fc.constant<keyof typeof BODIES>("a") },
        { weight: 4, arbitrary: fc.constantFrom<(keyof typeof BODIES)[]>("b", "later", "unknown", "bad") },
      ),
    }),
  },
  {
    weight: 8,
    arbitrary: command("pull", {
      dispatcher: two,
      stream: fc.constantFrom<string[]>(STREAM.jobs, STREAM.jobs, STREAM.retry),
      max: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 20,
    arbitrary: command("step", {
      pick: picks,
      times: fc.integer({ min: 1, max: 12 }),
      fate: fc.oneof(
        { weight: 10, arbitrary: fc.constant<Fate>("ok") },
        { weight: 3, arbitrary: fc.constantFrom<Fate[]>("lost", "failed", "stale") },
      ),
    }),
  },
  { weight: 12, arbitrary: command("finish", {}) },
  { weight: 5, arbitrary: command("see", { monitor: two, count: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 10, arbitrary: command("reconcile", { monitor: two, pick: picks }) },
  { weight: 3, arbitrary: command("sweep", { monitor: two }) },
  { weight: 1, arbitrary: command("cancel", { monitor: two, id: ids }) },
  { weight: 2, arbitrary: command("rerun", { monitor: two, id: ids }) },
  { weight: 3, arbitrary: command("start", { pick: picks }) },
  {
    weight: 7,
    arbitrary: command("end", {
      pick: picks,
      how: fc.constantFrom<PodEnd[]>("success", "success", "exit", "exit", "stop", "oom", "evicted", "preempted"),
    }),
  },
  { weight: 2, arbitrary: command("endStopped", { how: fc.constantFrom<("success" | "killed")[]>("success", "killed") }) },
  { weight: 2, arbitrary: command("remove", { pick: picks, orphan: fc.boolean() }) },
  { weight: 2, arbitrary: command("collect", {}) },
  {
    weight: 1,
    arbitrary: command("refuse", {
      how: fc.constantFrom<(keyof typeof REFUSALS)[]>("no", "no", "forbidden", "quota", "broken", "invalid"),
    }),
  },
  { weight: 3, arbitrary: command("crash", { actor: actors }) },
  { weight: 6, arbitrary: command("wait", { ms: fc.constantFrom(1_000, 11_000, 61_000, 125_000, 700_000) }) },
  { weight: 1, arbitrary: command("skew", { actor: actors, minutes: fc.constantFrom(-10, 0, 10) }) },
  { weight: 1, arbitrary: command("fireTwice", {}) },
];

const restores: fc.WeightedArbitrary<Command>[] = [
  { weight: 4, arbitrary: command("backup", {}) },
  {
    weight: 5,
    arbitrary: command("restore", { stream: fc.constantFrom<string[]>(STREAM.jobs, STREAM.retry, STREAM.events, RECORDS) }),
  },
];

const first: Command = { do: "publish", id: 0, body: "a" };
const lists = (of: fc.WeightedArbitrary<Command>[]): fc.Arbitrary<Command[]> =>
  fc.array(fc.oneof(...of), { minLength: 20, maxLength: 120, size: "max" }).map((commands) => [first, ...commands]);

export const histories = lists(usual);
export const historiesWithRestores = lists([...usual, ...restores]);
