import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, it } from "vitest";

let folder: string;
let kubeconfig: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-start-"));
  kubeconfig = join(folder, "kubeconfig");
  const config = {
    "current-context": "nowhere",
    contexts: [{ name: "nowhere", context: { cluster: "nowhere", user: "nobody" } }],
    clusters: [{ name: "nowhere", cluster: { server: "https://127.0.0.1:1" } }],
    users: [{ name: "nobody", user: {} }],
  };
  await writeFile(kubeconfig, JSON.stringify(config));
});
afterAll(() => rm(folder, { recursive: true }));

it.each(["dispatcher", "monitor", "scaler"])(
  "A14: a %s that waits for a broker that is away ends at a signal",
  async (service) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "main.ts"), service], {
      env: {
        PATH: process.env["PATH"],
        KUBECONFIG: kubeconfig,
        NATS_URL: "nats://127.0.0.1:1",
        MILLRACE_INSTANCE: "test.start",
        HTTP_SERVER_PORT: "0",
        POD_NAME: "pod",
        POD_NAMESPACE: "test",
        JOBS_NAMESPACE: "test",
        JOB_NAMESPACES: "test",
        CONFIG_MAP: "queues",
        LEASE_NAME: "lease",
        STORE_SIZE: "1Gi",
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "exit");
    for await (const line of createInterface({ input: child.stdout })) if (line.includes("nats.unreachable")) break;
    child.kill("SIGTERM");
    // Whoever is the first process of a container dies of no signal that it does not listen for.
    expect(await ended).toEqual([0, null]);
  },
);
