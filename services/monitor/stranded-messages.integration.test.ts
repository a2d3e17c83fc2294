import { cpSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { consumerName, STREAM } from "../../libs/contract/streams.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { NatsTestServer } from "../../libs/streams/testing/nats-server.ts";
import { queuesOf, Workbench } from "../../libs/streams/testing/workbench.ts";
import { StrandedMessages } from "./stranded-messages.ts";

let server: NatsTestServer;
let bench: Workbench;
beforeAll(async () => {
  server = await NatsTestServer.start();
  bench = await Workbench.open(server, { queues: ["default"] });
});
afterAll(() => server[Symbol.asyncDispose]());

const { signal } = new AbortController();
const open = () =>
  StrandedMessages.open({
    connection: bench.connection,
    queues: () => ({ default: {}, gone: {} }),
    workers: () => ({ resize: {} }),
    log: silentLog,
  });
const consumers = async () => (await bench.manager.streams.info(STREAM.jobs)).state.consumer_count;

it("what is acknowledged and still there, as after a full disk, is delivered again; what is held or waits is left alone", async () => {
  await bench.publish("default", "{}");
  await bench.publish("default", "{}");
  const held = await bench.one("default");
  const sweep = await open();
  for (let round = 0; round < 3; round += 1) await sweep.sweep(signal);
  expect(await consumers()).toBe(1);

  // As a server that could not write removals: its messages are those of before, its consumer's state is that of after.
  const messages = join(server.streamFolder(STREAM.jobs), "msgs");
  cpSync(messages, `${messages}.before`, { recursive: true });
  for (const { message } of [held, await bench.one("default")]) await message.ackAck();
  await server.kill("SIGTERM");
  rmSync(messages, { recursive: true });
  renameSync(`${messages}.before`, messages);
  await server.restart();
  expect((await bench.manager.streams.info(STREAM.jobs)).state.messages).toBe(2);

  const name = consumerName("default");
  await sweep.sweep(signal);
  expect(await consumers()).toBe(1);
  await bench.manager.consumers.pause(STREAM.jobs, name, new Date(Date.now() + 3_600_000));
  await sweep.sweep(signal);
  expect(await consumers()).toBe(1);
  await bench.manager.consumers.resume(STREAM.jobs, name);
  await sweep.sweep(signal);
  await sweep.sweep(signal);
  expect(await consumers()).toBe(0);
  await bench.provisioner.consumers(queuesOf(["default"]));
  expect((await bench.deliver("default", 2)).map(({ source }) => source.seq)).toEqual([1, 2]);
});
