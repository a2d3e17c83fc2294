import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Asked } from "../libs/kube/testing/fake-api-server.ts";
import { FakeControlPlane } from "../libs/kube/testing/fake-control-plane.ts";
import { NatsTestServer } from "../libs/streams/testing/nats-server.ts";

const CONFIG = {
  queues: { default: {} },
  templates: { hello: { image: "busybox" } },
  workers: { resize: { subject: "images" } },
};
const FRESHNESS = /^millrace_watch_freshness_seconds\{.*kind="([^"]+)".*\} (\S+)$/gmu;
const until = <Result>(check: () => Promise<Result>) => vi.waitFor(check, { timeout: 30_000, interval: 50 });

interface Answer {
  readonly status: number;
  readonly lines: readonly string[];
}

/** A service as its container runs it. */
class ServiceProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #port = Promise.withResolvers<number>();
  readonly #events: string[] = [];

  constructor(name: string, env: Readonly<Record<string, string>>) {
    const program = join(import.meta.dirname, "main.ts");
    const child = spawn(process.execPath, [program, name], {
      env: { ...env, PATH: process.env["PATH"] },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    this.#ended = once(child, "exit");
    void this.#read(child.stdout);
  }

  async get(path: string): Promise<Answer> {
    const answer = await fetch(`http://127.0.0.1:${await this.#port.promise}${path}`);
    return { status: answer.status, lines: (await answer.text()).trimEnd().split("\n") };
  }

  /** By kind, in seconds. */
  async freshness(): Promise<ReadonlyMap<string, number>> {
    const { lines } = await this.get("/metrics");
    return new Map([...lines.join("\n").matchAll(FRESHNESS)].map(([, kind = "", seconds]) => [kind, Number(seconds)]));
  }

  async isConnected(): Promise<boolean> {
    const { lines } = await this.get("/metrics");
    return lines.some((line) => /^millrace_nats_connected\{.*\} 1$/u.test(line));
  }

  hasSaid(event: string): boolean {
    return this.#events.includes(event);
  }

  terminate(): void {
    this.#child.kill("SIGTERM");
  }

  /** The exit code and the signal. */
  ended(): Promise<unknown> {
    return this.#ended;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  async #read(output: NodeJS.ReadableStream): Promise<void> {
    for await (const line of createInterface({ input: output })) {
      const [, event = ""] = /"event":"([^"]+)"/u.exec(line) ?? [];
      this.#events.push(event);
      if (event === "http.started") this.#port.resolve(Number(/"port":(\d+)/u.exec(line)?.[1]));
    }
  }
}

/** What each must ask itself, and what each follows in the cluster. */
const MONITOR = {
  lives: ["broker", "election", "lease-keeper", "sweep", "work-queue", "workers"],
  isReady: ["broker", "config", "consumers", "election", "watch"],
  follows: ["configmaps", "jobs", "pods", "worker-pods"],
  withoutApi: ["config: ", "watch: jobs: ", "namespace jobs: ", "worker pods are not seen"],
};
const DISPATCHER = {
  lives: ["broker", "election", "pull"],
  isReady: ["broker", "config", "election", "pull"],
  follows: ["configmaps"],
  withoutApi: ["config: "],
};

let folder: string;
let nats: NatsTestServer;
let client: NatsConnection;
let plane: FakeControlPlane;
let monitor: ServiceProcess;
let dispatcher: ServiceProcess;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-probes-"));
  const kubeconfig = join(folder, "kubeconfig");
  plane = await FakeControlPlane.start(CONFIG);
  await plane.writeKubeconfig(kubeconfig);
  nats = await NatsTestServer.start();
  client = await nats.connect();
  const env = {
    ...{ KUBECONFIG: kubeconfig, NATS_URL: nats.url, MILLRACE_INSTANCE: "test.probes", HTTP_SERVER_PORT: "0", POD_NAME: "pod" },
    ...{ POD_NAMESPACE: "test", CONFIG_MAP: "config", JOBS_NAMESPACE: "jobs", JOB_NAMESPACES: "jobs", STORE_SIZE: "1Gi" },
  };
  // What is looked through once only after the start shows what a sweep's timer has no part in.
  monitor = new ServiceProcess("monitor", { ...env, LEASE_NAME: "monitor", SWEEP_INTERVAL: "1h" });
  dispatcher = new ServiceProcess("dispatcher", { ...env, LEASE_NAME: "dispatcher", LEADER_ELECTION: "true" });
});
afterAll(async () => {
  await Promise.all([monitor.kill(), dispatcher.kill()]);
  await plane[Symbol.asyncDispose]();
  await nats[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const services = [
  { name: "monitor", service: () => monitor, ...MONITOR },
  { name: "dispatcher", service: () => dispatcher, ...DISPATCHER },
] as const;

const isReady = (service: ServiceProcess): Promise<void> =>
  until(async () => expect(await service.get("/readyz")).toEqual({ status: 200, lines: ["ok"] }));
const isAlive = async (service: ServiceProcess): Promise<void> =>
  expect(await service.get("/healthz")).toEqual({ status: 200, lines: ["ok"] });

describe("what a service says of itself, as it is put together", () => {
  it.each(services)("the $name asks everything that it is made of", async ({ service, lives, isReady: ready }) => {
    const asked = (names: readonly string[]) => ["ok", ...names.map((name) => `${name}: ok`)].toSorted();
    const says = async (path: string) => (await service().get(`${path}?verbose`)).lines.toSorted();
    // Ready while it stands by, it is not for a moment when it begins to lead.
    await until(async () => expect(await says("/readyz")).toEqual(asked([...lives, ...ready])));
    expect(await says("/healthz")).toEqual(asked(lives));
  });

  it("while the API server is away /readyz names what is not followed, whose age grows; then all is well again", async () => {
    plane.leave();
    await client.publish("jobs.nobody.hello", "{}");
    await Promise.all(
      services.map(async ({ service, follows, withoutApi }) => {
        await until(async () => {
          const { status, lines } = await service().get("/readyz");
          expect(status).toBe(503);
          for (const problem of withoutApi) expect(lines.join("\n")).toContain(problem);
        });
        await isAlive(service());
        const first = await service().freshness();
        expect([...first.keys()].toSorted()).toEqual(follows);
        await until(async () => {
          for (const [kind, seconds] of await service().freshness()) expect(seconds, kind).toBeGreaterThan(first.get(kind) ?? 0);
        });
      }),
    );
    const oldest = await Promise.all(services.map(({ service }) => service().freshness()));
    plane.comeBack();
    await Promise.all(
      services.map(async ({ service, follows }, index) => {
        const fresh = new Set<string>();
        await until(async () => {
          for (const [kind, seconds] of await service().freshness())
            if (seconds < (oldest[index]?.get(kind) ?? 0)) fresh.add(kind);
          expect([...fresh].toSorted()).toEqual(follows);
        });
        await isReady(service());
      }),
    );
    // Of a gap a sweep follows, which finds the message that nobody takes.
    await until(async () => expect(monitor.hasSaid("message.unrouted")).toBe(true));
  });

  it("while NATS is away they are alive and not ready, and /metrics says so", async () => {
    await nats.kill();
    for (const { service } of services) {
      await until(async () => {
        const { status, lines } = await service().get("/readyz");
        expect([status, lines.some((line) => line.startsWith("broker: not connected"))]).toEqual([503, true]);
      });
      await isAlive(service());
      expect(await service().isConnected()).toBe(false);
    }
    await nats.restart();
    for (const { service } of services) {
      await isReady(service());
      expect(await service().isConnected()).toBe(true);
    }
  });
});

describe("while it drains a service answers: alive, and not ready", () => {
  async function drains(service: ServiceProcess, held: Promise<Asked>): Promise<void> {
    service.terminate();
    await until(async () => expect(await service.get("/readyz")).toEqual({ status: 503, lines: ["draining"] }));
    await isAlive(service);
    expect((await service.get("/metrics")).status).toBe(200);
    plane.release(await held);
    expect(await service.ended()).toEqual([0, null]);
    await expect(service.get("/healthz")).rejects.toThrow();
  }

  it("a dispatcher whose Job is on its way", async () => {
    const posted = plane.hold(({ method, path }) => method === "POST" && path.endsWith("/jobs"));
    client.publish("jobs.default.hello", JSON.stringify({ id: "last", template: "hello" }));
    await drains(dispatcher, Promise.resolve(await posted));
  });

  it("a monitor that hands back its Lease", async () => {
    const released = plane.hold(({ method, body }) => {
      const lease = body as { readonly spec?: { readonly holderIdentity?: string } } | undefined;
      return method === "PUT" && lease?.spec?.holderIdentity === "";
    });
    await drains(monitor, released);
  });
});
