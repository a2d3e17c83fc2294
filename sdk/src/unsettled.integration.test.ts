import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DLQ_HEADER } from "../../libs/contract/dead-letter.ts";
import { STREAM } from "../../libs/contract/streams.ts";
import { Gate } from "../testing/gate.ts";
import { heldUp, silent } from "../testing/held-up-broker.ts";
import { NOW, WorkerBench } from "../testing/worker-bench.ts";
import { type Handler, NonRetryable } from "./index.ts";

const ACK_WAIT_MS = 3_000;
let bench: WorkerBench;
let named = 0;
const NAMES = Array.from({ length: 10 }, (_, index) => `w${index}`);
beforeAll(async () => {
  bench = await WorkerBench.open(NAMES, ACK_WAIT_MS);
});
afterEach(() => bench.stopAll());
afterAll(() => bench[Symbol.asyncDispose]());

const nextName = (): string => NAMES[named++] ?? "";

/** Messages whose subject ends in `dead` go to the DLQ. */
const buries: Handler<unknown> = ({ subject }) => {
  if (subject.endsWith(".dead")) throw new NonRetryable("never");
};

describe("a DLQ that is full", () => {
  it("takes no slot: other messages go on, and when there is room each entry is written once", async () => {
    const name = nextName();
    const { manager } = bench.streams;
    const { config, state } = await manager.streams.info(STREAM.deadLetters);
    await bench.streams.store.broker.publish({
      ...{ stream: STREAM.deadLetters, subject: "dlq.work.other.kept", headers: {}, body: "kept", expectedLastSequence: 0 },
    });
    await manager.streams.update(STREAM.deadLetters, { ...config, max_msgs: state.messages + 1 });
    // As many dead ones as there are slots.
    const workers = [0, 1].map(() => bench.start(name, { handler: buries }));
    for (let index = 0; index < 2; index += 1) await bench.publish(`${name}.${index}.dead`, { index });
    const count = (event: string): number => workers.reduce((sum, { log }) => sum + log.of(event).length, 0);
    await bench.until(
      async () => count("message.set-aside"),
      (times) => times >= 2,
    );
    for (let index = 0; index < 4; index += 1) await bench.publish(`${name}.${index}.good`, { index });
    await bench.until(
      async () => count("message.succeeded"),
      (times) => times === 4,
    );
    expect(await bench.left(name)).toEqual([`${name}.0.dead`, `${name}.1.dead`]);
    expect(await bench.deadLetters(name)).toEqual([]);
    await manager.streams.update(STREAM.deadLetters, config);
    await bench.settled(name);
    const entries = await bench.deadLetters(name);
    expect(entries.map(({ header }) => header(DLQ_HEADER.subject)).toSorted()).toEqual([`${name}.0.dead`, `${name}.1.dead`]);
    expect(count("message.dead")).toBe(2);
  });
});

describe("what follows from a failure and cannot be written", () => {
  it("is left to whoever is given the message next, once it has been tried for half of ack_wait, and the slot is free", async () => {
    const name = nextName();
    let isSilent = true;
    const running = bench.start(name, {
      broker: silent(({ name: call, stream }) => isSilent && call === "publish" && stream === STREAM.deadLetters),
      handler: buries,
    });
    await bench.publish(`${name}.one.dead`, {});
    await running.log.until("message.set-aside");
    await bench.publish(`${name}.two`, {});
    await running.log.until("message.succeeded");
    const { claim } = await bench.claimOf(name);
    expect(claim).toMatchObject({ settling: true, ended: { class: "nonRetryable" } });
    isSilent = false;
    await running.log.until("message.dead");
    await bench.settled(name);
    expect(await bench.deadLetters(name)).toHaveLength(1);
  });

  it("W1: is nobody else's while it is tried: the lease is kept", async () => {
    const name = nextName();
    const writing = new Gate();
    const running = bench.start(name, {
      broker: heldUp({
        gate: writing,
        when: "before",
        isHeld: ({ name: call, stream }) => call === "publish" && stream === STREAM.deadLetters,
      }),
      handler: buries,
    });
    await bench.publish(`${name}.dead`, {});
    await writing.reached();
    const other = bench.start(name, { handler: buries });
    await other.log.until("worker.started");
    const { claim } = await bench.claimOf(name);
    expect(claim.settling).toBe(true);
    expect(await bench.renewed(name, 4)).toMatchObject({ claim });
    writing.open();
    await running.log.until("message.dead");
    await bench.settled(name);
    expect(await bench.deadLetters(name)).toHaveLength(1);
    expect(other.log.of("message.dead")).toEqual([]);
  });
});

describe("a success that cannot be told", () => {
  it("W1: keeps its lease until it is, and the message is not worked on again", async () => {
    const name = nextName();
    const called: string[] = [];
    const acknowledging = new Gate();
    const running = bench.start(name, {
      broker: heldUp({ gate: acknowledging, when: "before", isHeld: ({ name: call }) => call === "acknowledge" }),
      handler: () => void called.push("one"),
    });
    await bench.publish(`${name}.one`, {});
    await acknowledging.reached();
    const other = bench.start(name, { handler: () => void called.push("other") });
    await other.log.until("worker.started");
    await bench.renewed(name, 4);
    acknowledging.open();
    await running.log.until("message.succeeded");
    await bench.settled(name);
    expect(called).toEqual(["one"]);
  });
});

describe("S2: a worker that stands still before it writes a retry", () => {
  it("writes none when another one has written it meanwhile, and that one has run to its end", async () => {
    const name = nextName();
    const attempts: string[] = [];
    const reading = new Gate();
    const fails = (who: string): Handler<unknown> => {
      return ({ attempt }) => {
        attempts.push(`${who} ${attempt}`);
        if (attempt === 1) throw new Error("once");
      };
    };
    const slow = bench.start(name, {
      // Without its second thread, it loses its lease meanwhile.
      isLight: true,
      env: { MILLRACE_RETRY: NOW },
      broker: heldUp({
        gate: reading,
        when: "after",
        isHeld: ({ name: call, stream, of }) =>
          call === "last" && stream === STREAM.workRetry && String(of).startsWith("work.run."),
      }),
      handler: fails("slow"),
    });
    await bench.publish(`${name}.one`, {});
    await reading.reached();
    const other = bench.start(name, { handler: fails("other") });
    await other.log.until("message.succeeded");
    await bench.settled(name);
    reading.open();
    await slow.log.until("message.lost");
    await bench.settled(name);
    expect(attempts).toEqual(["slow 1", "other 2"]);
  });
});
