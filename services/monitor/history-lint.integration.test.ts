import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FakeControlPlane } from "../../libs/kube/testing/fake-control-plane.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";

let folder: string;
let nats: NatsTestServer;
let plane: FakeControlPlane;
let monitor: ChildProcessByStdio<null, Readable, null>;
let ended: Promise<unknown>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-history-"));
  plane = await FakeControlPlane.start({
    queues: { long: { deadlineMax: "3h" } },
    workers: { resize: { subject: "images", timeout: "2h" } },
  });
  await plane.writeKubeconfig(join(folder, "kubeconfig"));
  nats = await NatsTestServer.start();
  monitor = spawn(process.execPath, [join(import.meta.dirname, "..", "main.ts"), "monitor"], {
    env: {
      ...{ PATH: process.env["PATH"], KUBECONFIG: join(folder, "kubeconfig"), NATS_URL: nats.url, HTTP_SERVER_PORT: "0" },
      ...{ MILLRACE_INSTANCE: "test.history", POD_NAME: "pod", POD_NAMESPACE: "test", JOBS_NAMESPACE: "test" },
      ...{ JOB_NAMESPACES: "test", CONFIG_MAP: "config", LEASE_NAME: "lease", STORE_SIZE: "1Gi", HISTORY: "1h" },
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  ended = once(monitor, "exit");
});
afterAll(async () => {
  monitor.kill("SIGKILL");
  await ended;
  await plane[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

it("a monitor says in its log and by /readyz which queues and workers may outlive what is kept of them", async () => {
  const problems: string[] = [];
  let port: unknown;
  for await (const line of createInterface({ input: monitor.stdout })) {
    const said = JSON.parse(line) as { readonly event: string; readonly problem?: string; readonly port?: number };
    port ??= said.port;
    if (said.event === "config.history-too-short") problems.push(said.problem ?? "");
    if (problems.length === 2) break;
  }
  expect(problems).toEqual([expect.stringMatching(/^queues\.long: /), expect.stringMatching(/^workers\.resize: /)]);
  monitor.stdout.resume();
  const readyz = await (await fetch(`http://127.0.0.1:${port}/readyz`)).text();
  expect(readyz.split("\n")).toEqual(expect.arrayContaining(problems));
});
