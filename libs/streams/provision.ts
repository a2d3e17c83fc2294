import { type ConsumerConfig, type JetStreamManager, jetstreamManager, type StreamInfo } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { MillraceError } from "../contract/errors.ts";
import type { DispatchConfig } from "../contract/queue-config.ts";
import { STREAM } from "../contract/streams.ts";
import { subjectsOverlap } from "../contract/work-config.ts";
import { isMissing } from "./errors.ts";
import {
  type DesiredConsumer,
  type DesiredStream,
  desiredConsumers,
  desiredStreams,
  type TopologyOptions,
  workSubjects,
} from "./topology.ts";

/** Fields that cannot be changed on a stream that holds messages, or whose change would lose some. */
const FIXED = ["retention", "storage", "subjects", "max_msgs_per_subject"] as const;
/** Fields that are brought to what is wanted. */
const ADJUSTED = [
  "max_bytes",
  "max_age",
  "max_msg_size",
  "num_replicas",
  "discard",
  "allow_direct",
  "allow_msg_schedules",
  "allow_msg_ttl",
  "duplicate_window",
  "metadata",
] as const;

/**
 * Makes the streams and consumers what the configuration says. Safe to run twice and by two at once: creating what exists with the same
 * configuration is not an error in JetStream, and updates converge.
 */
export class Provisioner {
  readonly #connection: NatsConnection;
  readonly #options: TopologyOptions;

  constructor(options: { readonly connection: NatsConnection; readonly topology: TopologyOptions }) {
    this.#connection = options.connection;
    this.#options = options.topology;
  }

  /** @throws MillraceError `STREAM_DRIFT` with field, wanted and found when a stream cannot be brought to what is wanted */
  async streams(): Promise<void> {
    const manager = await jetstreamManager(this.#connection);
    for (const desired of desiredStreams(this.#options)) await ensureStream(manager, desired);
  }

  async consumers(config: DispatchConfig): Promise<void> {
    const manager = await jetstreamManager(this.#connection);
    const steps = [
      () => ensureWorkSubjects(manager, workSubjects(config)),
      ...desiredConsumers(config, this.#options).map((desired) => () => ensureConsumer(manager, desired)),
    ];
    // What the broker refuses of one keeps no other from being there.
    const failures: unknown[] = [];
    for (const step of steps) await step().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }
}

/**
 * The client's `add` refuses a durable that exists with other values (a queue whose slots were changed), so it is updated; only then, because an
 * update writes back all that was read before, and would end a pause that a person sets in between.
 */
async function ensureConsumer(manager: JetStreamManager, { stream, config }: DesiredConsumer): Promise<void> {
  try {
    const found: Partial<ConsumerConfig> = (await manager.consumers.info(stream, config.durable_name)).config;
    const isSame = Object.entries(config).every(([name, value]) => found[name as keyof ConsumerConfig] === value);
    if (!isSame) await manager.consumers.update(stream, config.durable_name, config);
  } catch (error) {
    if (!isMissing(error)) throw error;
    await manager.consumers.add(stream, config);
  }
}

/**
 * A subject that no worker takes any more stays while messages of it wait: WORK would keep them, and take no more of them. Not one that overlaps
 * with a worker's, which the broker refuses: that one goes, and what waits there is told and cleared as what reaches nobody is.
 */
async function ensureWorkSubjects(manager: JetStreamManager, wanted: readonly string[]): Promise<void> {
  const { config } = await manager.streams.info(STREAM.work);
  const subjects = new Set(wanted);
  for (const subject of config.subjects) {
    const isInTheWay = wanted.some((one) => subjectsOverlap(one, subject));
    if (!isInTheWay && (await holdsAny(manager, subject))) subjects.add(subject);
  }
  if (subjects.size === config.subjects.length && config.subjects.every((subject) => subjects.has(subject))) return;
  await manager.streams.update(STREAM.work, { ...config, subjects: [...subjects] });
}

async function holdsAny(manager: JetStreamManager, subject: string): Promise<boolean> {
  const { state } = await manager.streams.info(STREAM.work, { subjects_filter: subject });
  return Object.keys(state.subjects ?? {}).length > 0;
}

async function ensureStream(manager: JetStreamManager, desired: DesiredStream): Promise<void> {
  const found = await streamInfo(manager, desired.name);
  if (found === undefined) {
    await manager.streams.add(desired);
    return;
  }
  // Those of WORK follow the configuration.
  const fixed = FIXED.find((field) => (field !== "subjects" || desired.name !== STREAM.work) && differs(desired, found, field));
  if (fixed !== undefined) {
    const detail = `wanted ${JSON.stringify(desired[fixed])}, found ${JSON.stringify(found.config[fixed])}`;
    throw new MillraceError(
      "STREAM_DRIFT",
      `stream ${desired.name} cannot be used: ${fixed}: ${detail}; it belongs to something else or was changed by hand. Restore that field, or back the stream up and remove it`,
    );
  }
  if (ADJUSTED.some((field) => differs(desired, found, field))) {
    await manager.streams.update(desired.name, {
      ...found.config,
      ...desired,
      subjects: found.config.subjects,
      metadata: { ...found.config.metadata, ...desired.metadata },
    });
  }
}

async function streamInfo(manager: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await manager.streams.info(name);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function differs(desired: DesiredStream, found: StreamInfo, field: (typeof FIXED)[number] | (typeof ADJUSTED)[number]): boolean {
  const wanted = desired[field];
  if (wanted === undefined) return false;
  if (field === "metadata") {
    return Object.entries(desired.metadata ?? {}).some(([key, value]) => found.config.metadata?.[key] !== value);
  }
  return JSON.stringify(wanted) !== JSON.stringify(found.config[field]);
}
