import { spawn } from "node:child_process";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectAsProducer } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTunnel } from "../cli/src/port-forward.ts";
import { seedMessage } from "../libs/contract/testing/seed-message.ts";
import { command } from "../scripts/cluster/command.ts";
import { testProfile } from "../scripts/install/profile.ts";
import { Installation, NOTHING } from "./harness/installation.ts";

let millrace: Installation;
beforeAll(async () => {
  millrace = await Installation.open();
});
afterAll(async () => {
  await millrace[Symbol.asyncDispose]();
});

const cli = join(import.meta.dirname, "../cli/bin/millrace.js");
const runCli = (args: readonly string[]): Promise<string> =>
  command(process.execPath, [cli, ...args, "--kubeconfig", millrace.cluster.kubeconfig]);
const hello = (id: string, name = "world"): object => ({ id, template: "hello", params: { name } });

describe("a message becomes a finished Job", () => {
  it("by template; the outcome, the message's end and the Job's ttl are seen", async () => {
    await millrace.publish("jobs.default.hello", hello("path-1"));
    const record = await millrace.outcome("path-1");
    expect(record).toMatchObject({
      state: "succeeded",
      attempt: 1,
      queue: "default",
      type: "hello",
      attempts: [{ outcome: "succeeded", exitCode: 0 }],
    });
    expect(["created", "started", "succeeded"].map((kind) => millrace.eventsOf("path-1", kind))).toEqual([1, 1, 1]);
    expect(await millrace.log("path-1")).toBe("hello, world\n");
    await expect.poll(() => millrace.leftovers(), { timeout: 30_000 }).toEqual(NOTHING);
    expect((await millrace.jobs("path-1"))[0]?.spec?.ttlSecondsAfterFinished).toBe(300);
  });

  it("a parameter that looks like a variable reference arrives literally", async () => {
    await millrace.publish("jobs.default.hello", hello("path-2", "$(MILLRACE_QUEUE) $$(X) $"));
    await millrace.outcome("path-2");
    expect(await millrace.log("path-2")).toBe("hello, $(MILLRACE_QUEUE) $$(X) $\n");
  });

  it("the seed's README message runs as published, with its env, resources and deadline on the Job", async () => {
    const { envRef: _ref, nodeSelector: _node, toleration: _toleration, volume: _volume, ...spec } = seedMessage.job;
    const message = { ...seedMessage, job: { ...spec, namespace: testProfile.jobsNamespace } };
    await millrace.publish("jobs.default.example", message);
    expect((await millrace.outcome(message.id)).state).toBe("succeeded");
    expect(await millrace.log(message.id)).toBe("Hello World\n");
    const job = (await millrace.jobs(message.id))[0];
    const container = job?.spec?.template.spec?.containers[0];
    expect(job?.metadata?.labels?.["app"]).toBe("example");
    expect(job?.spec?.activeDeadlineSeconds).toBe(600);
    expect(container?.resources).toEqual({ limits: { cpu: "1", memory: "512Mi" }, requests: { cpu: "500m", memory: "256Mi" } });
    expect(container?.env).toContainEqual({ name: "ENV_VAR", value: "value" });
    await expect
      .poll(async () => (await millrace.jobs(message.id))[0]?.spec?.ttlSecondsAfterFinished, { timeout: 30_000 })
      .toBe(60);
  });

  it("J1: the termination message is the result; a failed exit is dead-lettered with its class and the raw bytes", async () => {
    const job = { prefixName: "t", namespace: "millrace-jobs", image: "busybox:latest" };
    const ok = { id: "path-result", job: { ...job, command: ["/bin/sh", "-c", "echo 42 > /dev/termination-log"] } };
    const bad = JSON.stringify({ id: "path-exit", job: { ...job, backoffLimit: 0, command: ["/bin/sh", "-c", "exit 3"] } });
    await millrace.publish("jobs.default.x", ok);
    await millrace.publish("jobs.default.x", bad);
    expect((await millrace.outcome("path-result")).result).toBe("42\n");
    expect(await millrace.outcome("path-exit")).toMatchObject({
      state: "dead",
      attempts: [{ outcome: "failed", class: "exit", exitCode: 3 }],
    });
    const entries = (await millrace.deadLetters()).filter(({ id }) => id === "path-exit");
    expect(entries).toMatchObject([{ class: "exit", code: "JOB_FAILED" }]);
    expect(entries[0]?.body.toString()).toBe(bad);
  });

  it("L1: a Job that outlives ack_wait keeps its message and is never delivered again", async () => {
    const job = { prefixName: "long", namespace: "millrace-jobs", image: "busybox:latest", command: ["sleep", "35"] };
    await millrace.publish("jobs.default.long", { id: "path-long", job });
    expect((await millrace.outcome("path-long")).state).toBe("succeeded");
    expect(await millrace.jobs("path-long")).toHaveLength(1);
    const lines = (await millrace.logLines("dispatcher")).filter((line) => line.includes('"path-long"'));
    expect(lines.map((line) => JSON.parse(line).event)).toEqual(["job.created"]);
  });

  it("J5: a Job that somebody deletes is in the DLQ once, and does not come back", async () => {
    const job = { prefixName: "del", namespace: "millrace-jobs", image: "busybox:latest", command: ["sleep", "300"] };
    await millrace.publish("jobs.default.x", { id: "path-deleted", job });
    const hash = millrace.hash("path-deleted");
    await millrace.events.waitFor("its start", (event) => event.hash === hash && event.kind === "started");
    const name = (await millrace.jobs("path-deleted"))[0]?.metadata?.name ?? "";
    await millrace.kubectl(["-n", testProfile.jobsNamespace, "delete", "job", name, "--wait=true"]);
    expect(await millrace.outcome("path-deleted")).toMatchObject({ state: "dead", attempts: [{ class: "deleted" }] });
    expect((await millrace.deadLetters()).filter(({ id }) => id === "path-deleted")).toHaveLength(1);
    expect(await millrace.jobs("path-deleted")).toEqual([]);
  });
});

describe("the ways in", () => {
  it("the nats 2.x client, as an existing producer uses it", async () => {
    await using tunnel = await openTunnel({
      kubeconfig: millrace.cluster.kubeconfig,
      context: undefined,
      namespace: testProfile.namespace,
      service: "millrace-nats",
      port: 4222,
    });
    const producer = await connectAsProducer({ servers: `127.0.0.1:${tunnel.port}` });
    await producer.jetstream().publish("jobs.default.hello", JSON.stringify(hello("way-nats2")));
    await producer.close();
    expect((await millrace.outcome("way-nats2")).state).toBe("succeeded");
  });

  it("raw protocol bytes through kubectl port-forward from the host", async () => {
    const kubectl = join(millrace.cluster.binDir, "kubectl");
    const args = [
      "--kubeconfig",
      millrace.cluster.kubeconfig,
      "-n",
      testProfile.namespace,
      "port-forward",
      "svc/millrace-nats",
      ":4222",
    ];
    const forward = spawn(kubectl, args, { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const port = await new Promise<number>((resolve) => {
        forward.stdout.on("data", (chunk: Buffer) => {
          const match = /127\.0\.0\.1:(\d+)/.exec(chunk.toString());
          if (match !== null) resolve(Number(match[1]));
        });
      });
      const body = JSON.stringify(hello("way-raw"));
      const socket = connectTcp(port, "127.0.0.1");
      socket.write(`CONNECT {"verbose":false}\r\nPUB jobs.default.hello ${body.length}\r\n${body}\r\nPING\r\n`);
      await new Promise<void>((resolve) => {
        socket.on("data", (chunk: Buffer) => {
          if (chunk.toString().includes("PONG")) resolve();
        });
      });
      socket.destroy();
      expect((await millrace.outcome("way-raw")).state).toBe("succeeded");
    } finally {
      forward.kill();
    }
  });

  it("npx millrace pub --wait and get", async () => {
    const body = JSON.stringify({ template: "hello", params: { name: "cli" } });
    const printed = (await runCli(["pub", "jobs.default.hello", body, "--wait"])).trim();
    expect(printed).toMatch(/^[0-9a-f-]{36} {2}succeeded$/);
    const id = printed.split(" ")[0] ?? "";
    expect(JSON.parse(await runCli(["get", id, "-o", "json"]))).toMatchObject({ ...(await millrace.record(id)) });
    expect(await runCli(["get", id])).toContain("state     succeeded");
    await expect(runCli(["pub", "jobs.default.hello", '{"template":"nope"}', "--wait"])).rejects.toThrow(/exit code 1/);
    await expect(runCli(["get", "no-such-job"])).rejects.toThrow(/ID_UNKNOWN/);
  });

  it("a template that is added to the configuration can be used without a restart", async () => {
    const name = "millrace-config";
    const read = JSON.parse(await millrace.kubectl(["-n", testProfile.namespace, "get", "configmap", name, "-o", "json"]));
    const config = JSON.parse(read.data["config.json"]);
    config.templates.late = { image: "busybox:latest", command: ["echo", "late"] };
    const before = await millrace.restarts();
    await millrace.kubectl([
      "-n",
      testProfile.namespace,
      "patch",
      "configmap",
      name,
      "--patch",
      JSON.stringify({ data: { "config.json": JSON.stringify(config) } }),
    ]);
    const applied = async (): Promise<number> =>
      (await millrace.logLines("dispatcher")).filter((line) => /"templates":\[[^\]]*"late"/u.test(line)).length;
    await expect.poll(applied, { timeout: 30_000 }).toBe(2);
    await millrace.publish("jobs.default.late", { id: "way-late", template: "late" });
    expect((await millrace.outcome("way-late")).state).toBe("succeeded");
    expect(await millrace.restarts()).toBe(before);
  });
});

it("leaves nothing behind", async () => {
  await expect.poll(() => millrace.leftovers(), { timeout: 60_000 }).toEqual(NOTHING);
});
