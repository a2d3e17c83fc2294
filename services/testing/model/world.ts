import { jobHash } from "../../../libs/contract/names.ts";
import { jobRecord } from "../../../libs/contract/record.ts";
import { sourceKey } from "../../../libs/contract/source.ts";
import { STREAM } from "../../../libs/contract/streams.ts";
import { parseDispatchConfig } from "../../../libs/kube/dispatch-config-source.ts";
import { KubeApiError } from "../../../libs/kube/errors.ts";
import {
  type Evidence,
  heldMessage,
  type InvariantName,
  type Published,
  seenDeadLetter,
  seenEvent,
  type Violation,
  violations,
  violationsAtRest,
} from "../oracle.ts";
import type { ActorOptions } from "./actor.ts";
import { ACTORS, BODIES, type Command, nameOf, REFUSALS } from "./commands.ts";
import { DispatcherActor, INSTANCE, QUEUE } from "./dispatcher-actor.ts";
import { MemoryBroker, RECORDS } from "./memory-broker.ts";
import { MemoryCluster } from "./memory-cluster.ts";
import { MonitorActor } from "./monitor-actor.ts";
import { brokerTrouble, Stage, settled } from "./stage.ts";

const ACK_WAIT_MS = 120_000;
const HEAL_ROUNDS = 400;
const HEAL_STEP_MS = 20_000;

const CONFIG = parseDispatchConfig(
  JSON.stringify({
    queues: { [QUEUE]: { slots: 3, retrySlots: 2, retry: { attempts: 2, freeLimit: 2 } } },
    templates: { hello: { image: "busybox", params: { type: "object" } } },
  }),
);

/** After this restore these rules speak of what was lost with it: while everything is being healed (first) and for good (second). */
const RELAXED_BY: Readonly<
  Record<string, { readonly healing: readonly InvariantName[]; readonly atRest: readonly InvariantName[] }>
> = {
  // A message that was published since then is gone with it; what its record needs is in its `created` or `received` event.
  [STREAM.jobs]: { healing: ["I3"], atRest: [] },
  // A cancel that was cut off before its event is carried on by the sleeping message, which may be gone too.
  [STREAM.retry]: { healing: ["I3"], atRest: ["I3", "I7"] },
  // Nobody remembers the events of lives that had ended.
  [STREAM.events]: { healing: ["I3"], atRest: ["I3", "I7"] },
  // The record forgot what was done since: a cancel, a life, which Job was its own. That everything ends holds even so.
  [RECORDS]: { healing: ["I1", "I2", "I3", "I4", "I5", "I7"], atRest: ["I1", "I2", "I3", "I4", "I5", "I7"] },
};

/**
 * A whole installation, played step by step: two dispatchers, two monitors, one broker, one cluster, and whatever may happen to them. After every
 * step the oracle looks at what streams and Job history say.
 */
export class World {
  readonly broker: MemoryBroker;
  readonly cluster: MemoryCluster;
  readonly stage = new Stage();
  #nowMs = Date.parse("2026-01-01T00:00:00Z");
  readonly #skewMs = new Map<string, number>();
  readonly #actors = new Map<string, DispatcherActor | MonitorActor>();
  readonly #published: Published[] = [];
  readonly #backups = new Map<string, () => void>();
  readonly #relaxed = { healing: new Set<InvariantName>(), atRest: new Set<InvariantName>() };
  #firesTwice = false;

  constructor() {
    const nowMs = (): number => this.#nowMs;
    this.broker = new MemoryBroker({ nowMs, queues: [QUEUE], ackWaitMs: ACK_WAIT_MS, slots: 3, retrySlots: 2 });
    this.cluster = new MemoryCluster({ nowMs });
    for (const name of ACTORS) this.#boot(name);
  }

  /** Plays one command and answers what it broke. */
  async play(command: Command): Promise<Violation[]> {
    await this.#play(command);
    await settled();
    return this.violations();
  }

  /** No faults from here on: everything that can go on goes on, until nothing is left to do. */
  async heal(rounds = HEAL_ROUNDS): Promise<Violation[]> {
    this.cluster.refusal = undefined;
    this.#firesTwice = false;
    for (const name of ACTORS) this.#skewMs.delete(name);
    for (let round = 0; round < rounds; round += 1) {
      await this.#round(round);
      const broken = this.violations();
      if (broken.length > 0) return broken;
      if (round > 2 && this.#violationsAtRest().length === 0) return [];
    }
    return this.#violationsAtRest();
  }

  violations(): Violation[] {
    return violations(this.evidence()).filter(({ rule }) => !this.#relaxed.healing.has(rule));
  }

  evidence(): Evidence {
    const all = (stream: string) => this.broker.stream(stream).messages();
    return {
      published: this.#published,
      events: all(STREAM.events).map(seenEvent),
      deadLetters: all(STREAM.deadLetters).map(seenDeadLetter),
      records: all(RECORDS).map(({ data }) => jobRecord.parse(JSON.parse(new TextDecoder().decode(data)))),
      messages: [...all(STREAM.jobs), ...all(STREAM.retry)].map((message) => heldMessage(message, INSTANCE)),
      jobs: this.cluster.history(),
    };
  }

  #violationsAtRest(): Violation[] {
    return violationsAtRest(this.evidence()).filter(({ rule }) => !this.#relaxed.atRest.has(rule));
  }

  async #round(round: number): Promise<void> {
    this.cluster.collect();
    this.cluster.endOrphans();
    for (const job of this.cluster.all()) {
      this.cluster.endStopped(job, "killed");
      this.cluster.start(job);
      this.cluster.end(job, "success");
    }
    for (const monitor of this.#monitors()) {
      monitor.observer.see(Number.POSITIVE_INFINITY);
      for (let left = monitor.dirty; left > 0; left -= 1) monitor.reconcile(0);
      await this.#finish();
      if (round % 2 === 1) monitor.sweep();
      await this.#finish();
    }
    for (const dispatcher of this.#dispatchers()) {
      dispatcher.dispatch(this.broker.pull(STREAM.retry, QUEUE, 10));
      dispatcher.dispatch(this.broker.pull(STREAM.jobs, QUEUE, 10));
      await this.#finish();
    }
    this.#advance(HEAL_STEP_MS);
    await this.#finish();
  }

  async #finish(): Promise<void> {
    await settled();
    for (let steps = 0; this.stage.parked > 0; steps += 1) {
      if (steps > 10_000) throw new Error("the model does not come to rest");
      await this.stage.step(0, 1, "ok");
    }
  }

  async #play(command: Command): Promise<void> {
    switch (command.do) {
      case "publish":
        return this.#publish(command.id, command.body);
      case "pull":
        return this.#dispatcher(command.dispatcher)?.dispatch(this.broker.pull(command.stream, QUEUE, command.max));
      case "step":
        return this.stage.step(command.pick, command.times, command.fate);
      case "finish":
        return this.#finish();
      case "see":
        return this.#monitor(command.monitor)?.observer.see(command.count);
      case "reconcile":
        return this.#monitor(command.monitor)?.reconcile(command.pick);
      case "sweep":
        return this.#monitor(command.monitor)?.sweep();
      case "cancel":
        return this.#monitor(command.monitor)?.cancel(nameOf(command.id));
      case "rerun":
        return this.#monitor(command.monitor)?.rerun(nameOf(command.id));
      case "start":
        for (const job of this.#job(command.pick)) this.cluster.start(job);
        return;
      case "end":
        for (const job of this.#job(command.pick)) {
          this.cluster.start(job);
          this.cluster.end(job, command.how);
        }
        return;
      case "endStopped":
        for (const job of this.cluster.all()) this.cluster.endStopped(job, command.how);
        return;
      case "remove":
        for (const job of this.#job(command.pick)) this.cluster.remove(job, { orphan: command.orphan });
        return;
      case "collect":
        return this.cluster.collect();
      case "refuse":
        this.cluster.refusal = REFUSALS[command.how];
        return;
      case "crash":
        return this.#boot(command.actor);
      case "wait":
        return this.#advance(command.ms);
      case "skew":
        this.#skewMs.set(command.actor, command.minutes * 60_000);
        return;
      case "fireTwice":
        this.#firesTwice = true;
        return;
      case "backup":
        for (const stream of Object.keys(RELAXED_BY)) this.#backups.set(stream, this.broker.snapshot(stream));
        return;
      case "restore":
        return this.#restore(command.stream);
    }
  }

  #publish(id: number, body: keyof typeof BODIES): void {
    const name = nameOf(id);
    const stored = this.broker.produce(`jobs.${QUEUE}.hello`, BODIES[body](name));
    this.#published.push({ key: sourceKey(stored), hash: body === "bad" ? undefined : jobHash(INSTANCE, QUEUE, name) });
  }

  /** The servers come back with older data; whoever was connected begins anew. */
  #restore(stream: string): void {
    const restore = this.#backups.get(stream);
    if (restore === undefined) return;
    for (const name of ACTORS) this.#boot(name);
    const held = new Set(this.broker.stream(stream).messages().map(sourceKey));
    restore();
    const kept = new Set(this.broker.stream(stream).messages().map(sourceKey));
    // What was published since then is gone with the stream: no producer can be told otherwise.
    const lost = this.#published.filter(({ key = "" }) => held.has(key) && !kept.has(key));
    for (const each of lost) this.#published.splice(this.#published.indexOf(each), 1);
    for (const rule of RELAXED_BY[stream]?.healing ?? []) this.#relaxed.healing.add(rule);
    for (const rule of RELAXED_BY[stream]?.atRest ?? []) this.#relaxed.atRest.add(rule);
  }

  #advance(byMs: number): void {
    this.#nowMs += byMs;
    for (const dispatcher of this.#dispatchers()) dispatcher.advance(byMs);
    this.broker.fireSchedules({ twice: this.#firesTwice });
    this.#firesTwice = false;
  }

  #boot(name: string): void {
    const former = this.#actors.get(name);
    if (former instanceof MonitorActor) former.stop();
    this.stage.crash(name);
    const { broker: real } = this;
    const broker = this.stage.port<MemoryBroker>(name, real, {
      instead: {
        renew: (replySubject) => real.renew(replySubject),
        fillOf: () => real.fillOf(),
        clockOffsetMs: () => Promise.resolve(-(this.#skewMs.get(name) ?? 0)),
      },
      stale: { lastOfMany: (stream, subjects) => real.staleLastOfMany(stream, subjects) },
      problem: brokerTrouble,
    });
    const problem = (call: string): Error => new KubeApiError({ status: 0, reason: "NoAnswer", message: `${call} timed out` });
    const options: ActorOptions = {
      name,
      stage: this.stage,
      broker,
      cluster: this.stage.port(name, this.cluster, { problem }),
      handBack: (replySubject, delayMs) => this.broker.handBack(replySubject, delayMs),
      config: CONFIG,
      ackWaitMs: ACK_WAIT_MS,
      nowMs: () => this.#nowMs + (this.#skewMs.get(name) ?? 0),
    };
    const actor = name.startsWith("dispatcher")
      ? new DispatcherActor(options)
      : new MonitorActor({ ...options, watched: this.cluster });
    this.#actors.set(name, actor);
  }

  *#job(pick: number) {
    const jobs = this.cluster.all();
    const job = jobs[pick % jobs.length];
    if (job !== undefined) yield job;
  }

  #dispatchers(): DispatcherActor[] {
    return [...this.#actors.values()].filter((actor) => actor instanceof DispatcherActor);
  }

  #monitors(): MonitorActor[] {
    return [...this.#actors.values()].filter((actor) => actor instanceof MonitorActor);
  }

  #dispatcher(index: number): DispatcherActor | undefined {
    return this.#dispatchers()[index];
  }

  #monitor(index: number): MonitorActor | undefined {
    return this.#monitors()[index];
  }
}
