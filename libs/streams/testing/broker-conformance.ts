import { describe, expect, it } from "vitest";
import { STATE_HEADER } from "../../contract/record.ts";
import { type MessageSource, parseAckSubject, sameSource } from "../../contract/source.ts";
import { BUCKET, bucketStream, STREAM } from "../../contract/streams.ts";
import type { Broker, Publication, StoredMessage } from "../broker.ts";

/** A provisioned broker with the queue `q`, whose consumers let `slots` messages be unacknowledged. */
export interface ConformanceBench {
  readonly broker: Broker;
  readonly slots: number;
  /** A producer's publish to JOBS. */
  produce(body: string): Promise<MessageSource>;
  /** The next delivery of the queue; a message that is to be delivered again is waited for. */
  deliver(stream: string): Promise<{ readonly replySubject: string; readonly subject: string; readonly deliveries: number }>;
  /** Whether something can be delivered at this moment. */
  idle(stream: string): Promise<boolean>;
  handBack(replySubject: string): Promise<void>;
  unacked(stream: string): Promise<number>;
  /** The server's time. */
  nowMs(): number;
}

const RECORDS = bucketStream(BUCKET.records);
const text = (message: StoredMessage | undefined): string | undefined =>
  message === undefined ? undefined : new TextDecoder().decode(message.data);

/** What the protocol relies on: the same cases for a real nats-server and for the model's broker. */
export function brokerConformance(name: string, open: () => Promise<ConformanceBench>): void {
  describe(`${name} is the broker that the protocol expects`, () => {
    let names = 0;
    const fresh = (prefix: string): string => {
      names += 1;
      return `${prefix}${names}`;
    };
    const entry = (subject: string, expectedLastSequence: number, rest: Partial<Publication> = {}): Publication => ({
      stream: STREAM.events,
      subject,
      headers: { "X-Name": "value" },
      body: subject,
      expectedLastSequence,
      ...rest,
    });
    const stored = async (broker: Broker, publication: Publication): Promise<number> => {
      const outcome = await broker.publish(publication);
      if (outcome.kind !== "stored") throw new Error(`${publication.subject} was not stored`);
      return outcome.seq;
    };
    const acknowledgeAll = async (bench: ConformanceBench): Promise<void> => {
      while (!(await bench.idle(STREAM.jobs))) await bench.broker.acknowledge((await bench.deliver(STREAM.jobs)).replySubject);
    };

    it("a publish that expects none is stored once, with headers, body and sequence", async () => {
      const { broker } = await open();
      const subject = fresh("events.q.x");
      const seq = await stored(broker, entry(subject, 0));
      expect(await broker.publish(entry(subject, 0))).toEqual({ kind: "wrongLastSequence" });
      const last = await broker.last(STREAM.events, subject);
      expect(last).toMatchObject({ stream: STREAM.events, subject, seq, headers: { "X-Name": ["value"] } });
      expect(text(last)).toBe(subject);
    });

    it("a publish is stored only after the expected message of its subject, whatever other subjects hold", async () => {
      const { broker } = await open();
      const [one, other] = [fresh("events.q.x"), fresh("events.q.x")];
      const first = await stored(broker, entry(one, 0));
      const second = await stored(broker, entry(other, 0));
      expect(await broker.publish(entry(one, second))).toEqual({ kind: "wrongLastSequence" });
      const third = await stored(broker, entry(one, first));
      expect((await broker.last(STREAM.events, one))?.seq).toBe(third);
      expect((await broker.bySequence(STREAM.events, first))?.seq).toBe(first);
    });

    it("a bucket keeps the last message of each key", async () => {
      const { broker } = await open();
      const subject = fresh(`$KV.${BUCKET.records}.k`);
      const first = await stored(broker, entry(subject, 0, { stream: RECORDS, body: "1" }));
      const second = await stored(broker, entry(subject, first, { stream: RECORDS, body: "2" }));
      expect(await broker.bySequence(RECORDS, first)).toBeUndefined();
      expect(text(await broker.bySequence(RECORDS, second))).toBe("2");
    });

    it("reads of what is not there are answered, those of many leave it out", async () => {
      const { broker } = await open();
      const there = fresh("events.q.x");
      await stored(broker, entry(there, 0));
      expect(await broker.last(STREAM.events, fresh("events.q.x"))).toBeUndefined();
      expect(await broker.bySequence(STREAM.events, 1_000_000)).toBeUndefined();
      expect(await broker.bySequence("NONE", 1)).toBeUndefined();
      const subject = fresh(`$KV.${BUCKET.records}.k`);
      await stored(broker, entry(subject, 0, { stream: RECORDS }));
      const found = await broker.lastOfMany(RECORDS, [subject, `$KV.${BUCKET.records}.none`]);
      expect(found.map((message) => message.subject)).toEqual([subject]);
    });

    it("no stream: a publish fails, and nothing is known of what a subject holds", async () => {
      const { broker } = await open();
      await expect(broker.last("NONE", "events.q.x")).rejects.toThrow();
      await expect(broker.lastOfMany("NONE", ["events.q.x"])).rejects.toThrow();
      await expect(broker.publish(entry("events.q.x", 0, { stream: "NONE" }))).rejects.toThrow();
    });

    it("a bucket's keys are found by a header of their last messages", async () => {
      const { broker } = await open();
      const [one, other] = [fresh(`$KV.${BUCKET.records}.h`), fresh(`$KV.${BUCKET.records}.h`)];
      const state = (value: string): Partial<Publication> => ({ stream: RECORDS, headers: { [STATE_HEADER]: value } });
      const seq = await stored(broker, entry(one, 0, state("conform")));
      await stored(broker, entry(other, 0, state("conform")));
      await stored(broker, entry(one, seq, state("other")));
      const found = await broker.subjectsWith(RECORDS, STATE_HEADER, "conform", new AbortController().signal);
      expect(found).toContain(other);
      expect(found).not.toContain(one);
    });

    it("a delivery names its message by sequence and store time", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      const source = await bench.produce("named");
      const { replySubject } = await bench.deliver(STREAM.jobs);
      const named = parseAckSubject(replySubject);
      expect(named !== undefined && sameSource(named, source)).toBe(true);
      expect((await bench.broker.bySequence(STREAM.jobs, source.seq))?.storedAt).toBe(source.storedAt);
      await bench.broker.acknowledge(replySubject);
    });

    it("an acknowledged message is gone from a work-queue, and again says the same", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      const { seq } = await bench.produce("acked");
      const { replySubject } = await bench.deliver(STREAM.jobs);
      expect(await bench.broker.acknowledge(replySubject)).toBe(true);
      expect(await bench.broker.bySequence(STREAM.jobs, seq)).toBeUndefined();
      expect(await bench.unacked(STREAM.jobs)).toBe(0);
      expect(await bench.broker.acknowledge(replySubject)).toBe(true);
    });

    it("an unacknowledged message is delivered again; the former reply subject still acknowledges it", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      const { seq } = await bench.produce("again");
      const first = await bench.deliver(STREAM.jobs);
      expect(await bench.idle(STREAM.jobs)).toBe(true);
      const second = await bench.deliver(STREAM.jobs);
      expect([first.deliveries, second.deliveries]).toEqual([1, 2]);
      expect(second.replySubject).not.toBe(first.replySubject);
      expect(await bench.broker.acknowledge(first.replySubject)).toBe(true);
      expect(await bench.broker.bySequence(STREAM.jobs, seq)).toBeUndefined();
      expect(await bench.unacked(STREAM.jobs)).toBe(0);
    });

    it("a message that is handed back is delivered again at once", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      await bench.produce("back");
      const { replySubject } = await bench.deliver(STREAM.jobs);
      await bench.handBack(replySubject);
      const again = await bench.deliver(STREAM.jobs);
      expect(again.deliveries).toBe(2);
      await bench.broker.acknowledge(again.replySubject);
    });

    it("no acknowledgement of a message that its consumer has not delivered, nor of an unknown consumer", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      const { seq, storedAt } = await bench.produce("undelivered");
      expect(await bench.broker.acknowledge(`$JS.ACK.JOBS.none.1.${seq}.1.${storedAt}.0`)).toBe(false);
      expect(await bench.broker.acknowledge(`$JS.ACK.JOBS.queue-q.1.${seq}.1.${storedAt}.0`)).toBe(false);
      expect(await bench.broker.bySequence(STREAM.jobs, seq)).toBeDefined();
      await acknowledgeAll(bench);
    });

    it("slots hold new messages back, not redeliveries", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      for (let n = 0; n <= bench.slots; n += 1) await bench.produce(`slot ${n}`);
      const held = [];
      for (let n = 0; n < bench.slots; n += 1) held.push(await bench.deliver(STREAM.jobs));
      expect(await bench.unacked(STREAM.jobs)).toBe(bench.slots);
      expect((await bench.deliver(STREAM.jobs)).deliveries).toBe(2);
      for (const { replySubject } of held) await bench.broker.acknowledge(replySubject);
      const last = await bench.deliver(STREAM.jobs);
      expect(last.deliveries).toBe(1);
      await bench.broker.acknowledge(last.replySubject);
    });

    it("a removed message is not delivered and takes no slot; removing it again is no error", async () => {
      const bench = await open();
      await acknowledgeAll(bench);
      const { seq } = await bench.produce("removed");
      await bench.deliver(STREAM.jobs);
      await bench.broker.remove(STREAM.jobs, seq);
      await bench.broker.remove(STREAM.jobs, seq);
      expect(await bench.broker.bySequence(STREAM.jobs, seq)).toBeUndefined();
      await expect.poll(() => bench.unacked(STREAM.jobs), { timeout: 10_000 }).toBe(0);
    });

    it("a schedule sleeps, then appears under its target with its headers and bytes, and is gone itself", async () => {
      const bench = await open();
      const key = fresh("s");
      const [at, run] = [`retry.at.${key}.2`, `retry.run.q.${key}.2`];
      const time = new Date(bench.nowMs() + 1_500).toISOString();
      const headers = { "Nats-Schedule": `@at ${time}`, "Nats-Schedule-Target": run, "X-Name": "value" };
      await stored(bench.broker, entry(at, 0, { stream: STREAM.retry, headers, body: "bytes" }));
      expect(await bench.broker.last(STREAM.retry, at)).toBeDefined();
      expect(await bench.broker.last(STREAM.retry, run)).toBeUndefined();
      const due = await bench.deliver(STREAM.retry);
      expect(due.subject).toBe(run);
      expect(await bench.broker.last(STREAM.retry, at)).toBeUndefined();
      const fired = await bench.broker.last(STREAM.retry, run);
      expect(text(fired)).toBe("bytes");
      expect(Object.entries(fired?.headers ?? {}).toSorted()).toEqual([
        ["Nats-Schedule-Next", ["purge"]],
        ["Nats-Scheduler", [at]],
        ["X-Name", ["value"]],
      ]);
      expect(await bench.broker.acknowledge(due.replySubject)).toBe(true);
      // The subject holds none again, so its next message expects none.
      expect(await bench.broker.publish(entry(run, 0, { stream: STREAM.retry }))).toMatchObject({ kind: "stored" });
      await bench.broker.purge(STREAM.retry, run);
    });

    it("a purged schedule never appears; its subject is free again", async () => {
      const bench = await open();
      const key = fresh("s");
      const [at, run] = [`retry.at.${key}.2`, `retry.run.q.${key}.2`];
      const sleeping = (inMs: number): Publication =>
        entry(at, 0, {
          stream: STREAM.retry,
          headers: { "Nats-Schedule": `@at ${new Date(bench.nowMs() + inMs).toISOString()}`, "Nats-Schedule-Target": run },
          body: String(inMs),
        });
      await stored(bench.broker, sleeping(1_200));
      expect(await bench.broker.publish(sleeping(1_200))).toEqual({ kind: "wrongLastSequence" });
      await bench.broker.purge(STREAM.retry, at);
      await stored(bench.broker, sleeping(2_000));
      const due = await bench.deliver(STREAM.retry);
      expect(text(await bench.broker.last(STREAM.retry, run))).toBe("2000");
      await bench.broker.acknowledge(due.replySubject);
      expect(await bench.idle(STREAM.retry)).toBe(true);
    });
  });
}
