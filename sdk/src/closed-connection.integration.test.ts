import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Program } from "../testing/program.ts";
import { WorkerBench } from "../testing/worker-bench.ts";

const NAME = "w";
let folder: string;
let bench: WorkerBench;

const users = (password: string): Promise<void> =>
  writeFile(
    join(folder, "users.conf"),
    `authorization { users: [{ user: admin, password: admin }, { user: worker, password: ${password} }] }`,
  );

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-worker-"));
  await writeFile(join(folder, "password"), "secret\n");
  await users("secret");
  // Beside the server's own folder.
  bench = await WorkerBench.open([NAME], 60_000, ["no_auth_user: admin", `include ../${basename(folder)}/users.conf`]);
});
afterAll(async () => {
  await bench[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

it("a worker whose credentials NATS takes no more ends, so that it is started anew with those that it has by then", async () => {
  using program = new Program({
    NATS_URL: bench.server.url,
    NATS_USER: "worker",
    NATS_PASSWORD_FILE: join(folder, "password"),
    MILLRACE_WORKER: NAME,
    ACK_WAIT: "60s",
  });
  await bench.publish(`${NAME}.one`, { waitMs: 600_000 });
  await program.log.until("handler.began");
  await users("another");
  await bench.server.restart();
  const { code, said } = await program.ended;
  expect(code).toBe(1);
  expect(said).toContain("the connection to NATS was closed for good (");
});
