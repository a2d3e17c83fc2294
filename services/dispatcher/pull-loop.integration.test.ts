import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer, type Server, type Socket } from "node:net";
import { connect } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { consumerName } from "../../libs/contract/streams.ts";
import { DispatchConfigSource, parseDispatchConfig } from "../../libs/kube/dispatch-config-source.ts";
import { MONOTONIC_CLOCK } from "../../libs/runtime/clock.ts";
import { WorkUnderWay } from "../../libs/runtime/health.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Metrics } from "../../libs/runtime/metrics.ts";
import { Provisioner } from "../../libs/streams/provision.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { INSTANCE, Workbench } from "../../libs/streams/testing/workbench.ts";
import { ConsumerProvisioning } from "../monitor/consumer-provisioning.ts";
import { FakeCluster } from "../testing/fake-cluster.ts";
import { Admission } from "./admission.ts";
import type { PulledMessage } from "./delivery.ts";
import { Dispatcher } from "./dispatcher.ts";
import { PullLoops } from "./pull-loop.ts";
import { Rejections } from "./rejections.ts";

const templates = { hello: { image: "busybox" } };
let server: NatsTestServer;
let bench: Workbench;
let cluster: FakeCluster;
let config: DispatchConfigSource;
let dispatcher: Dispatcher;
let loops: PullLoops;
let clockMs: number;
let underWay: WorkUnderWay;
let consumers: ConsumerProvisioning;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [] });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  cluster = await FakeCluster.start();
  config = new DispatchConfigSource({
    client: cluster.server.client,
    namespace: "millrace",
    configMap: "queues",
    log: silentLog,
  });
  const [nowMs, metrics, log] = [Date.now, new Metrics("test"), silentLog];
  dispatcher = new Dispatcher({
    ...bench.store,
    instance: INSTANCE,
    admission: new Admission({ config: () => config.current, jobsNamespace: "jobs", historyMs: 86_400_000, nowMs }),
    jobs: cluster.jobs,
    rejections: new Rejections({ ...bench.store, nowMs, metrics, log }),
    onNamespaceFull: () => {},
    ackWaitMs: 30_000,
    clock: MONOTONIC_CLOCK,
    nowMs,
    random: Math.random,
    metrics,
    log,
  });
  await dispatcher.start();
  clockMs = 0;
  underWay = new WorkUnderWay("pull", { stallAfterMs: 60_000, nowMs: () => clockMs });
  loops = new PullLoops({ connection: bench.connection, config, dispatcher, underWay, log: silentLog });
  const topology = { instance: INSTANCE, historyMs: 86_400_000, ackWaitMs: 30_000, replicas: 1, storeBytes: 900 * 2 ** 20 };
  consumers = new ConsumerProvisioning({
    provisioner: new Provisioner({ connection: bench.connection, topology }),
    config,
    log: silentLog,
  });
});
afterEach(async () => {
  await dispatcher.stop();
  await loops.stop();
  await consumers.stop();
  await config.stop();
  await cluster[Symbol.asyncDispose]();
  for (const stream of ["JOBS", "RETRY"]) {
    await bench.manager.streams.purge(stream);
    for await (const { name } of bench.manager.consumers.list(stream)) await bench.manager.consumers.delete(stream, name);
  }
});

async function configured(queues: object): Promise<void> {
  cluster.configure({ queues, templates });
  await config.start();
  await consumers.start();
  await vi.waitFor(() => expect(consumers.problem()).toBeUndefined(), { timeout: 20_000 });
}
async function started(queues: object): Promise<void> {
  await configured(queues);
  await loops.start();
  await vi.waitFor(() => expect(loops.problem()).toBeUndefined(), { timeout: 20_000 });
}
const publish = (queue: string, count: number) =>
  Promise.all(
    Array.from({ length: count }, (_, index) =>
      bench.publish(queue, JSON.stringify({ id: `${queue}-${index}`, template: "hello" })),
    ),
  );
const jobs = (count: number) => vi.waitFor(() => expect(cluster.objects.size).toBe(count), { timeout: 20_000 });

/** Between a client and its server; nothing passes while it is silent, and nobody is told. */
class SilentLink implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets: Socket[] = [];
  #isDeaf = false;

  private constructor(toPort: number) {
    this.#server = createServer((client) => {
      const upstream = connectTcp(toPort, "127.0.0.1");
      this.#sockets.push(client, upstream);
      client.pipe(upstream);
      upstream.on("data", (chunk) => void (this.#isDeaf || client.write(chunk)));
      for (const socket of [client, upstream]) socket.on("error", () => socket.destroy());
    });
  }

  static async open(toPort: number): Promise<SilentLink> {
    const link = new SilentLink(toPort);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  silence(isSilent: boolean): void {
    for (const socket of this.#sockets) isSilent ? socket.pause() : socket.resume();
  }

  /** What the server says meanwhile is lost, as with a server that another one took over from. */
  deafen(isDeaf: boolean): void {
    this.#isDeaf = isDeaf;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

describe("the pull loops", () => {
  it("A6, A8: a lone message waits for nobody, and a burst of hundreds becomes as many Jobs", async () => {
    await started({ default: { slots: 1000 } });
    await publish("default", 1);
    await jobs(1);
    await publish("default", 400);
    await jobs(400);
    expect(cluster.calls("POST")).toBeLessThanOrEqual(401);
  });

  it("the broker itself holds back what is above the queue's slots; more slots are live at once", async () => {
    await started({ default: { slots: 3 } });
    await publish("default", 10);
    await jobs(3);
    expect((await bench.manager.consumers.info("JOBS", consumerName("default"))).num_ack_pending).toBe(3);
    cluster.configure({ queues: { default: { slots: 7 } }, templates });
    await jobs(7);
  });

  it("queues come and go with the configuration", async () => {
    await started({ one: {} });
    await publish("two", 1);
    cluster.configure({ queues: { two: {} }, templates });
    await jobs(1);
    await vi.waitFor(() => expect(loops.problem()).toBeUndefined());
    await publish("one", 1);
    await publish("two", 2);
    await jobs(2);
  });

  it("a consumer that somebody removed comes back with the next sweep, and what waited is taken", async () => {
    await started({ default: {} });
    await bench.manager.consumers.delete("JOBS", consumerName("default"));
    await publish("default", 2);
    await consumers.sweep();
    await jobs(2);
  });

  it("a configuration that cannot be used changes nothing, and shows", async () => {
    await started({ default: {} });
    cluster.configure("{");
    await vi.waitFor(() => expect(config.problem()).toContain("not JSON"));
    await publish("default", 1);
    await jobs(1);
    cluster.configure({ queues: { default: {} }, templates });
    await vi.waitFor(() => expect(config.problem()).toBeUndefined());
    expect(config.current).toEqual(expect.objectContaining({ queues: parseDispatchConfig('{"queues":{"default":{}}}').queues }));
  });

  it("a consumer that is not there yet, or was deleted, is waited for", async () => {
    cluster.configure({ queues: { default: {} }, templates });
    await config.start();
    await loops.start();
    await vi.waitFor(() => expect(loops.problem()).toMatch(/consumer not found/), { timeout: 10_000 });
    await consumers.start();
    await publish("default", 1);
    await jobs(1);
  });

  it("A9, I6: the broker is killed and comes back: the loops go on", async () => {
    await started({ default: {} });
    await publish("default", 1);
    await jobs(1);
    await server.kill();
    await server.restart();
    await publish("default", 3);
    await jobs(3);
  });

  it("A14: draining hands back at once what is held, what waits and what was only pulled", async () => {
    // As many as all of them may be held: none is put to sleep.
    await started({ default: { slots: 2_000 } });
    cluster.refusal = { status: 503, reason: "ServiceUnavailable", message: "" };
    await publish("default", 300);
    await vi.waitFor(() => expect(dispatcher.blocked()[0]?.held).toBeGreaterThan(0), { timeout: 20_000 });
    loops.close();
    await dispatcher.stop();
    await loops.stop();
    const taken = await bench.deliver("default", 300);
    // A third time would be one that came back to the loops as they ended, and lay there until its lease ran out.
    expect(Math.max(...taken.map(({ message }) => message.info.deliveryCount))).toBeLessThanOrEqual(2);
    expect(cluster.objects.size).toBe(0);
  });

  it("A14: a loop that was told to end while it looked for its consumer does end", async () => {
    await configured({ default: {} });
    await loops.start();
    loops.close();
    // Answered after what the loops asked on the same connection.
    for (const stream of ["RETRY", "JOBS"]) await bench.manager.consumers.info(stream, consumerName("default"));
    await loops.stop();
    expect(loops.problem()).toBeUndefined();
  });

  it("a batch that does not end is a stall; one that has ended, and a namespace that accepts nothing, are none", async () => {
    await started({ default: {} });
    cluster.refusal = { status: 503, reason: "ServiceUnavailable", message: "" };
    await publish("default", 2);
    await vi.waitFor(() => expect(dispatcher.blocked()[0]?.held).toBe(2), { timeout: 20_000 });
    clockMs += 3_600_000;
    await vi.waitFor(() => expect(underWay.problem()).toBeUndefined());
    await loops.stop();
    const stuck = Promise.withResolvers<void>();
    const taken = vi.fn(() => stuck.promise);
    const { connection } = bench;
    const others = new PullLoops({ connection, config, dispatcher: { dispatch: taken }, underWay, log: silentLog });
    await others.start();
    await publish("default", 3);
    await vi.waitFor(() => expect(taken).toHaveBeenCalled(), { timeout: 20_000 });
    clockMs += 61_000;
    expect(underWay.problem()).toMatch(/has not ended for 61 s/);
    stuck.resolve();
    await vi.waitFor(() => expect(underWay.problem()).toBeUndefined());
    await others.stop();
  });

  it("a broker that is connected and says nothing makes it unready, until it speaks again", async () => {
    await using link = await SilentLink.open(Number(new URL(server.url).port));
    const connection = await connect({ servers: `127.0.0.1:${link.port}` });
    await configured({ default: {} });
    const patient = new PullLoops({ connection, config, dispatcher, underWay, requestMs: 1_000, log: silentLog });
    await patient.start();
    await vi.waitFor(() => expect(patient.problem()).toBeUndefined(), { timeout: 10_000 });
    link.silence(true);
    await vi.waitFor(() => expect(patient.problem()).toContain("the broker does not answer for"), { timeout: 20_000 });
    link.silence(false);
    await vi.waitFor(() => expect(patient.problem()).toBeUndefined(), { timeout: 20_000 });
    await patient.stop();
    await connection.close();
  });

  it("a message is an answer of the broker, too: while they come, it sends no other sign of life", async () => {
    await using link = await SilentLink.open(Number(new URL(server.url).port));
    const connection = await connect({ servers: `127.0.0.1:${link.port}` });
    await configured({ default: {} });
    const seen: (string | undefined)[] = [];
    const dispatch = (messages: readonly PulledMessage[]) => {
      seen.push(pulling.problem());
      return Promise.all(messages.map((message) => message.ackAck())).then(() => undefined);
    };
    const pulling = new PullLoops({ connection, config, dispatcher: { dispatch }, underWay, requestMs: 1_000, log: silentLog });
    await pulling.start();
    await vi.waitFor(() => expect(pulling.problem()).toBeUndefined(), { timeout: 10_000 });
    link.deafen(true);
    await vi.waitFor(() => expect(pulling.problem()).toContain("does not answer for JOBS"), { timeout: 20_000 });
    const isOver = async () => expect((await bench.manager.consumers.info("JOBS", consumerName("default"))).num_waiting).toBe(0);
    await vi.waitFor(isOver, { timeout: 10_000 });
    await publish("default", 1);
    link.deafen(false);
    await vi.waitFor(() => expect(seen).toHaveLength(1), { timeout: 20_000 });
    expect(seen[0] ?? "").not.toContain("JOBS");
    await pulling.stop();
    await connection.close();
  });

  it("RETRY is pulled, too", async () => {
    await configured({ default: {} });
    const { record, ack, message } = await bench.running("default", "again");
    await message.ackAck();
    const next = { attempt: 2, notBefore: new Date().toISOString() };
    await bench.store.records.swap({ ...record, state: "retrying", next }, 1);
    const kept = { subject: "jobs.default.hello", headers: {}, bodyBase64: Buffer.from(message.data).toString("base64") };
    await bench.store.retries.publish({ ...record, state: "retrying", next }, kept);
    await loops.start();
    await jobs(1);
    expect(ack).toContain("JOBS");
  });

  it("stop hands back what was not begun, and a loop that never pulled stops, too", async () => {
    await started({ default: { slots: 5 } });
    await publish("default", 20);
    await jobs(5);
    await loops.stop();
    const posts = cluster.calls("POST");
    await publish("default", 25);
    expect(cluster.calls("POST")).toBe(posts);
    expect(loops.problem()).toBeUndefined();
  });
});
