import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { claimKey, type WorkClaim } from "../contract/work-claim.ts";
import { ClaimStore } from "./claims.ts";
import { JetStreamBroker } from "./jetstream-broker.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { queuesOf, Workbench } from "./testing/workbench.ts";

let server: NatsTestServer;
let bench: Workbench;
let claims: ClaimStore;

beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: [], workers: { resize: { subject: "image-downloaded" } } });
  claims = new ClaimStore({ broker: await JetStreamBroker.open(bench.connection) });
});
afterAll(async () => {
  await bench.connection.close();
  await server[Symbol.asyncDispose]();
});

const claim: WorkClaim = {
  worker: "resize",
  holder: { pod: "uid", podName: "resize-1", process: "p", bootedAtMs: 1 },
  delivery: 1,
  ack: "$JS.ACK.x",
  failures: 0,
  free: 0,
};

describe("W1: claims", () => {
  it("are taken once, however many try", async () => {
    const key = claimKey("WORK", "worker-resize", 1);
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => claims.swap(key, claim, 0)));
    expect(outcomes.filter(({ kind }) => kind === "won")).toHaveLength(1);
    const { stored, revision } = await claims.get(key);
    expect(stored).toMatchObject({ key, claim, revision });
    expect(stored?.writtenAtMs).toBeGreaterThan(Date.now() - 60_000);
  });

  it("are removed only by who wrote them last, and can be taken anew", async () => {
    const key = claimKey("WORK", "worker-resize", 2);
    const first = await claims.swap(key, claim, 0);
    if (first.kind === "lost") throw new Error("nobody else was there");
    const renewed = await claims.swap(key, { ...claim, failures: 1 }, first.revision);
    if (renewed.kind === "lost") throw new Error("nobody else was there");
    expect(await claims.remove(key, first.revision)).toEqual({ kind: "lost" });
    expect((await claims.remove(key, renewed.revision)).kind).toBe("won");
    const { stored, revision } = await claims.get(key);
    expect(stored).toBeUndefined();
    expect((await claims.swap(key, claim, revision)).kind).toBe("won");
  });

  it("leave a mark of their removal that the broker forgets", async () => {
    const info = await bench.manager.streams.info("KV_millrace_claims");
    expect(info.config).toMatchObject({ allow_msg_ttl: true, max_age: 0, deny_delete: false });
    const key = claimKey("WORK", "worker-resize", 3);
    const won = await claims.swap(key, claim, 0);
    if (won.kind === "lost") throw new Error("nobody else was there");
    await claims.remove(key, won.revision);
    const marker = await bench.manager.streams.getMessage("KV_millrace_claims", { last_by_subj: `$KV.millrace_claims.${key}` });
    expect([marker?.header.get("KV-Operation"), marker?.header.get("Nats-TTL")]).toEqual(["DEL", "60s"]);
  });
});

describe("WORK takes the subjects of the workers", () => {
  const subjects = async () => (await bench.manager.streams.info("WORK")).config.subjects;
  const configured = async (workers: Record<string, { subject: string }>) => {
    await bench.provisioner.consumers(queuesOf([], workers));
  };

  it("a new one at once, and lets one go when nothing of it waits", async () => {
    await configured({ resize: { subject: "image-downloaded" }, download: { subject: "image-download" } });
    expect(await subjects()).toEqual(["work.fresh.>", "image-downloaded", "image-download"]);
    const { seq } = await bench.client.publish("image-download", "{}");
    await configured({ resize: { subject: "image-downloaded" } });
    expect(await subjects()).toContain("image-download");
    await bench.manager.streams.deleteMessage("WORK", seq);
    await configured({ resize: { subject: "image-downloaded" } });
    expect(await subjects()).toEqual(["work.fresh.>", "image-downloaded"]);
  });

  it("and each worker has a consumer for what is fresh and one for what is due", async () => {
    const of = async (stream: string) => (await bench.manager.consumers.info(stream, "worker-resize")).config;
    expect(await of("WORK")).toMatchObject({ filter_subject: "image-downloaded", max_deliver: -1, max_ack_pending: -1 });
    expect(await of("WORK_RETRY")).toMatchObject({ filter_subject: "work.run.resize.>", ack_policy: "explicit" });
  });
});
