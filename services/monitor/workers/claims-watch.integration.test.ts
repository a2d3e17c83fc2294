import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { BUCKET, bucketStream, bucketSubject } from "../../../libs/contract/streams.ts";
import type { WorkClaim } from "../../../libs/contract/work-claim.ts";
import { silentLog } from "../../../libs/runtime/log.ts";
import { ClaimStore } from "../../../libs/streams/claims.ts";
import { NatsTestServer } from "../../../libs/streams/testing/nats-server.ts";
import { Workbench } from "../../../libs/streams/testing/workbench.ts";
import { ClaimsWatch } from "./claims-watch.ts";

const STREAM_NAME = bucketStream(BUCKET.claims);
const KEY = "WORK.worker-resize.1";
const CLAIM: WorkClaim = {
  worker: "resize",
  holder: { pod: "uid-a", podName: "a", process: "a-1", bootedAtMs: 1 },
  ...{ delivery: 1, ack: "ack", failures: 0, free: 0 },
};

let server: NatsTestServer;
let streams: Workbench;
let store: ClaimStore;
/** The watch's own: others are not cut off with it. */
let connection: NatsConnection;
let watch: ClaimsWatch;
let gone: PromiseWithResolvers<string>;

beforeAll(async () => {
  server = await NatsTestServer.start();
  streams = await Workbench.open(server, { queues: [], workers: { resize: { subject: "images" } } });
  store = new ClaimStore({ broker: streams.store.broker });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  gone = Promise.withResolvers();
  connection = await server.connect();
  watch = await ClaimsWatch.open({
    connection,
    onClaim: () => undefined,
    onGone: ({ key }) => gone.resolve(key),
    onSynced: () => undefined,
    log: silentLog,
  });
  await watch.start();
  await until(() => expect(watch.isSynced()).toBe(true));
  await store.swap(KEY, CLAIM, 0);
  await until(() => expect(watch.countOf("uid-a")).toBe(1));
});
afterEach(async () => {
  await watch.stop();
  await connection.close();
});

const until = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 20 });
/** As when it is removed, and a minute later what marks that. */
const removedUnseen = () => streams.manager.streams.purge(STREAM_NAME, { filter: bucketSubject(BUCKET.claims, KEY) });

it.each<[string, () => Promise<unknown>]>([
  ["connection was away", () => connection.reconnect()],
  [
    "consumer was lost",
    async () => {
      for await (const { name } of streams.manager.consumers.list(STREAM_NAME)) {
        await streams.manager.consumers.delete(STREAM_NAME, name);
      }
    },
  ],
])("W1: a claim that was removed while the watch's %s is not held for ever", async (_what, breaks) => {
  await removedUnseen();
  expect(watch.countOf("uid-a")).toBe(1);
  await breaks();
  expect(await gone.promise).toBe(KEY);
  await until(() => expect(watch.isSynced()).toBe(true));
  expect([...watch.all()]).toEqual([]);
});
