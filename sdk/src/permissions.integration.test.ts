import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WorkerBench } from "../testing/worker-bench.ts";
import { NonRetryable } from "./index.ts";

const NAME = "image-resize";
const DOCS = join(import.meta.dirname, "../../docs/worker-sdk.md");

/** What the docs say, as a server's configuration. */
async function permissions(): Promise<string> {
  const text = /```text permissions\n(.*?)```/s.exec(await readFile(DOCS, "utf8"))?.[1] ?? "";
  const rows = [...text.matchAll(/^(publish|subscribe) +(\S+)$/gm)];
  const of = (kind: string): string[] =>
    rows.filter((row) => row[1] === kind).map((row) => (row[2] ?? "").replaceAll("NAME", NAME));
  return JSON.stringify({ publish: of("publish"), subscribe: of("subscribe") });
}

let bench: WorkerBench;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-worker-"));
  await writeFile(join(folder, "password"), "secret\n");
  bench = await WorkerBench.open([NAME], 1_500, [
    "no_auth_user: admin",
    "authorization { users: [",
    "  { user: admin, password: admin }",
    `  { user: worker, password: secret, permissions: ${await permissions()} }`,
    "] }",
  ]);
});
afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

describe("a worker whose NATS user may do no more than the docs say", () => {
  it("does all of its work: success, retry, DLQ, and what is held across a killed server", async () => {
    const running = bench.start(NAME, {
      env: {
        NATS_USER: "worker",
        NATS_PASSWORD_FILE: join(folder, "password"),
        MILLRACE_RETRY: '{"backoff":{"delays":["50ms"]}}',
      },
      handler: async ({ attempt, data }) => {
        if (data === "dead") throw new NonRetryable("never");
        if (data === "slow") await bench.server.restart();
        if (data === "fails" && attempt === 1) throw new Error("once");
      },
    });
    for (const body of ["good", "fails", "dead"]) await bench.publish(`${NAME}.one`, JSON.stringify(body));
    await running.log.until("message.succeeded", 2);
    await running.log.until("message.dead");
    await bench.publish(`${NAME}.one`, '"slow"');
    await running.log.until("message.succeeded", 3);
    await bench.settled(NAME);
    expect(await bench.deadLetters(NAME)).toHaveLength(1);
    expect(running.log.of("nats.denied")).toEqual([]);
    await bench.until(
      async () => running.process.problem(),
      (problem) => problem === undefined,
    );
  });
});
