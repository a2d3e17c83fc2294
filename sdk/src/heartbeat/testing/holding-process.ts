import { randomUUID } from "node:crypto";
import { readSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { z } from "zod";
import { claimKey, type WorkClaim } from "../../../../libs/contract/work-claim.ts";
import { silentLog } from "../../../../libs/runtime/log.ts";
import { ClaimStore } from "../../../../libs/streams/claims.ts";
import { JetStreamBroker } from "../../../../libs/streams/jetstream-broker.ts";
import { replySubject } from "../../../../libs/streams/messages.ts";
import { Heartbeats } from "../heartbeats.ts";

/** A worker process that takes one message and works on it as it is told; a JSON line on stdout for each thing that happened. */
const task = z
  .object({
    url: z.string(),
    stream: z.string(),
    consumer: z.string(),
    worker: z.string(),
    ackWaitMs: z.number(),
    timeoutMs: z.number(),
    graceMs: z.number(),
    /** For how long its handler holds up the event loop; without it until stdin says something. */
    blockMs: z.number().optional(),
    /** For how long it settles afterwards, which holds up nothing. */
    settleMs: z.number(),
  })
  .parse(JSON.parse(process.argv[2] ?? ""));

const say = (event: string, fields: object = {}): void => void process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

const connection = await connect({ servers: task.url });
const broker = await JetStreamBroker.open(connection);
const claims = new ClaimStore({ broker });
const heartbeats = new Heartbeats({
  settings: { NATS_URL: task.url },
  worker: task.worker,
  ackWaitMs: task.ackWaitMs,
  timeoutGraceMs: task.graceMs,
  httpPort: 0,
  log: silentLog,
  metrics: () => Promise.resolve("of_main 1\n"),
  onLost: (key) => say("lost", { key }),
});
await heartbeats.start();
heartbeats.setReadiness({ ready: true });

const consumer = await jetstream(connection).consumers.get(task.stream, task.consumer);
const message = await consumer.next();
if (message === null) throw new Error("nothing was delivered");
const ack = replySubject(message);
const key = claimKey(task.stream, task.consumer, message.seq);
const claim: WorkClaim = {
  worker: task.worker,
  holder: { pod: "pod-1", podName: "worker-1", process: randomUUID(), bootedAtMs: Date.now() },
  delivery: message.info.deliveryCount,
  ack,
  failures: 0,
  free: 0,
};
const swapped = await claims.swap(key, claim, 0);
if (swapped.kind === "lost") throw new Error("somebody else has the claim");
heartbeats.hold({ key, ack, claim, revision: swapped.revision, deadlineMs: Date.now() + task.timeoutMs });
say("running", { key, port: heartbeats.port });
// Once what is said is out.
await setTimeout(50);
if (task.blockMs === undefined) readSync(0, new Uint8Array(1));
else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, task.blockMs);
heartbeats.handlerEnded(key);
say("ended");
await setTimeout(task.settleMs);
const released = await heartbeats.release(key);
const isAcknowledged = released !== undefined && (await broker.acknowledge(ack));
const removed = released === undefined ? undefined : await claims.remove(key, released.revision);
say("done", { isAcknowledged, removed: removed?.kind });
await heartbeats.stop();
await connection.close();
