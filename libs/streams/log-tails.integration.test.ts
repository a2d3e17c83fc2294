import { Kvm } from "@nats-io/kv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jobHash } from "../contract/names.ts";
import { BUCKET, bucketStream } from "../contract/streams.ts";
import { LogTails } from "./log-tails.ts";
import { NatsTestServer } from "./testing/nats-server.ts";
import { Workbench } from "./testing/workbench.ts";

let server: NatsTestServer;
let bench: Workbench;
let logs: LogTails;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: ["default"] });
  logs = await LogTails.open(bench.connection);
});
afterAll(() => server[Symbol.asyncDispose]());

const hashOf = (id: string): string => jobHash("ns.rel", "q", id);
const lastSequence = async (): Promise<number> => (await bench.manager.streams.info(bucketStream(BUCKET.logs))).state.last_seq;

describe("design §4.3: the end of a failed attempt's log", () => {
  it("is kept by attempt, byte for byte", async () => {
    const hash = hashOf("a");
    const texts = ["first\n", "\uFEFFzweiter Versuch: ä€😀\n", ""];
    for (const [index, text] of texts.entries()) await logs.put(hash, index + 1, text);
    for (const [index, text] of texts.entries()) expect(await logs.get(hash, index + 1)).toBe(text);
    expect(await logs.get(hash, 4)).toBeUndefined();
    expect(await logs.get(hashOf("b"), 1)).toBeUndefined();
  });

  it("is written once, however often it is kept", async () => {
    const hash = hashOf("once");
    await logs.put(hash, 1, "text\n");
    const before = await lastSequence();
    await logs.put(hash, 1, "text\n");
    await Promise.all([1, 2, 3].map(() => logs.put(hash, 1, "text\n")));
    expect(await lastSequence()).toBe(before);
  });

  it("is replaced by one that was read later", async () => {
    const hash = hashOf("later");
    await logs.put(hash, 1, "half\n");
    await logs.put(hash, 1, "half\nand the rest\n");
    expect(await logs.get(hash, 1)).toBe("half\nand the rest\n");
  });

  it("is kept once by several monitors at the same moment", async () => {
    const hash = hashOf("race");
    const before = await lastSequence();
    await Promise.all(["one", "two", "three"].map((text) => logs.put(hash, 1, text)));
    expect(await lastSequence()).toBe(before + 1);
    expect(["one", "two", "three"]).toContain(await logs.get(hash, 1));
  });

  it("a tail of the largest size is kept", async () => {
    const text = `${"x".repeat(64 * 1024 - 1)}\n`;
    await logs.put(hashOf("large"), 1, text);
    expect(await logs.get(hashOf("large"), 1)).toBe(text);
  });

  it("is an entry of a KV bucket, for whoever reads it with other clients", async () => {
    const hash = hashOf("kv");
    await logs.put(hash, 2, "text\n");
    const bucket = await new Kvm(bench.connection).open(BUCKET.logs);
    expect((await bucket.get(`${hash}.2`))?.string()).toBe("text\n");
  });
});
