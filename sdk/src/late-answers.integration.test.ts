import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { type ClaimHolder, claimKey } from "../../libs/contract/work-claim.ts";
import { workRetryConfig } from "../../libs/contract/work-config.ts";
import { SourceMessages } from "../../libs/streams/messages.ts";
import type { PulledWork } from "../../libs/streams/work-pull.ts";
import { Gate } from "../testing/gate.ts";
import { heldUp, isClaimWrite } from "../testing/held-up-broker.ts";
import { type RunningWorker, WorkerBench } from "../testing/worker-bench.ts";
import { Receiver, readWork } from "./reception.ts";

/** A handler that holds up the event loop, or a process that was stopped, reads answers late: here the answers wait. */
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

const somebody: ClaimHolder = { pod: "other", podName: "other", process: "other-1", bootedAtMs: 1 };

describe("W1: a worker that reads late that it has a claim", () => {
  it("does not begin what another one works on by then", async () => {
    const name = nextName();
    const called: string[] = [];
    const answer = new Gate();
    const late = bench.start(name, {
      broker: heldUp({ gate: answer, when: "after", isHeld: isClaimWrite }),
      handler: () => void called.push("late"),
    });
    await bench.publish(`${name}.one`, {});
    await answer.reached();
    const working = new Gate();
    const other = bench.start(name, {
      handler: async () => {
        called.push("other");
        await working.pass();
      },
    });
    await working.reached();
    answer.open();
    await late.log.until("message.lost");
    working.open();
    await other.log.until("message.succeeded");
    await bench.settled(name);
    expect(called).toEqual(["other"]);
  });

  it("asks whether it still has it, and begins when nobody else came", async () => {
    const name = nextName();
    const answer = new Gate();
    const late = bench.start(name, {
      broker: heldUp({ gate: answer, when: "after", isHeld: isClaimWrite }),
      handler: () => {},
    });
    await bench.publish(`${name}.one`, {});
    await answer.reached();
    // Only time makes an answer late.
    await new Promise((resolve) => setTimeout(resolve, ACK_WAIT_MS / 2));
    answer.open();
    expect(await late.log.until("message.succeeded")).toMatchObject([{ attempt: 1, delivery: 1 }]);
    await bench.settled(name);
    // Written, written again, and removed.
    expect(answer.entered).toBeGreaterThan(2);
  });
});

describe("W1: a worker that comes late to a message", () => {
  it("does not run what another one has settled meanwhile", async () => {
    const name = nextName();
    const called: string[] = [];
    const claiming = new Gate();
    const late = bench.start(name, {
      broker: heldUp({ gate: claiming, when: "before", isHeld: isClaimWrite }),
      handler: () => void called.push("late"),
    });
    await bench.publish(`${name}.one`, {});
    await claiming.reached();
    const other = bench.start(name, { handler: () => void called.push("other") });
    await other.log.until("message.succeeded");
    await bench.settled(name);
    claiming.open();
    expect(await late.log.until("message.left")).toMatchObject([{ why: expect.stringMatching(/^it is gone/) }]);
    await bench.settled(name);
    expect(called).toEqual(["other"]);
  });

  /** What `seq` was delivered as, and a receiver whose questions after messages are counted. */
  async function pulled(name: string, seq: number, askedAtMs: number) {
    const { broker } = bench.streams.store;
    const stored = await broker.bySequence(STREAM.work, seq);
    if (stored === undefined) throw new Error("WORK did not keep it");
    const { subject, headers, data, storedAt } = stored;
    const consumer = workConsumerName(name);
    const message: PulledWork = {
      ...{ subject, headers, data, consumer, askedAtMs, delivery: 1 },
      source: { stream: STREAM.work, seq, storedAt },
      ack: `$JS.ACK.WORK.${consumer}.1.${seq}.1.${storedAt}.0`,
    };
    const questions: number[] = [];
    const messages = new SourceMessages({ broker });
    const receiver = new Receiver({
      ...{
        worker: name,
        broker,
        claims: bench.claims,
        holder: somebody,
        ackWaitMs: ACK_WAIT_MS,
        retry: workRetryConfig.parse({}),
      },
      upForMs: () => 3_600_000,
      messages: {
        read: (source) => {
          questions.push(source.seq);
          return messages.read(source);
        },
      },
    });
    const receive = () => receiver.receive(message, readWork(name, message).item, true);
    return { receive, questions, key: claimKey(STREAM.work, consumer, seq) };
  }

  it("asks whether it is there when the mark of a removed claim may be gone, too", async () => {
    const name = nextName();
    const seq = await bench.publish(`${name}.one`, {});
    const late = await pulled(name, seq, performance.now() - 31_000);
    await bench.streams.store.broker.remove(STREAM.work, seq);
    expect(await late.receive()).toMatchObject({ kind: "leave", why: expect.stringMatching(/^it is gone/) });
    expect((await bench.claims.get(late.key)).stored).toBeUndefined();
  });

  it("asks nothing when it comes at once", async () => {
    const name = nextName();
    const seq = await bench.publish(`${name}.one`, {});
    const prompt = await pulled(name, seq, performance.now());
    expect(await prompt.receive()).toMatchObject({ kind: "claimed", receipt: { kind: "run", attempt: 1 } });
    expect(prompt.questions).toEqual([]);
  });
});

describe("a handler that is to stop before it began", () => {
  it("is not called when its process is told to end: its message is handed back, and costs nothing", async () => {
    const name = nextName();
    const called: string[] = [];
    const claiming = new Gate();
    const first = new Gate();
    const key = (seq: number): string => claimKey(STREAM.work, workConsumerName(name), seq);
    const leaving = bench.start(name, {
      env: { MILLRACE_CONCURRENCY: "2", MILLRACE_GRACE: "50ms" },
      broker: heldUp({
        gate: claiming,
        when: "before",
        // The second one's: its claim is asked for before its publish is answered.
        isHeld: (call) => isClaimWrite(call) && first.entered > 0,
      }),
      handler: async ({ subject, signal }) => {
        called.push(subject);
        signal.addEventListener("abort", () => claiming.open());
        await first.pass();
        signal.throwIfAborted();
      },
    });
    await bench.publish(`${name}.one`, {});
    await first.reached();
    const second = await bench.publish(`${name}.two`, {});
    await claiming.reached();
    leaving.stop();
    await leaving.log.until("message.handed-back");
    first.open();
    await leaving.ended;
    expect(called).toEqual([`${name}.one`]);
    expect(leaving.log.of("message.handed-back")).toHaveLength(2);
    const { stored } = await bench.claims.get(key(second));
    expect(stored?.claim).toMatchObject({ failures: 0, free: 0 });
    expect(stored?.claim.holder).toBeUndefined();
    const other = bench.start(name, { handler: () => {} });
    expect(await other.log.until("message.succeeded", 2)).toMatchObject([{ attempt: 1 }, { attempt: 1 }]);
    await bench.settled(name);
  });

  it("is not called when its message is another worker's", async () => {
    const name = nextName();
    const attempts: number[] = [];
    const removing = new Gate();
    const running: RunningWorker = bench.start(name, {
      // What a retry follows from is looked for before it begins.
      broker: heldUp({
        gate: removing,
        when: "before",
        isHeld: ({ name: call, stream }) =>
          call === "bySequence" && stream === STREAM.work && running.log.of("message.retried").length > 0,
      }),
      handler: ({ attempt }) => {
        attempts.push(attempt);
        throw new Error("always");
      },
    });
    await bench.publish(`${name}.one`, {});
    await removing.reached();
    const stolenAtMs = performance.now();
    await bench.stolen(name, somebody);
    // It would be given the message again, which nobody works on.
    running.stop();
    // Only a renewal that fails shows it.
    await bench.until(
      async () => performance.now() - stolenAtMs,
      (ms) => ms > ACK_WAIT_MS,
    );
    removing.open();
    await running.log.until("message.lost");
    expect(attempts).toEqual([1]);
    expect((await bench.claimOf(name)).claim.holder).toEqual(somebody);
  });
});
