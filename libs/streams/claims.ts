import { BUCKET, bucketStream, bucketSubject } from "../contract/streams.ts";
import { type WorkClaim, workClaim } from "../contract/work-claim.ts";
import type { Broker, StoredMessage } from "./broker.ts";
import type { SwapOutcome } from "./records.ts";

export interface StoredClaim {
  readonly key: string;
  readonly claim: WorkClaim;
  /** The KV revision that a compare-and-swap must name. */
  readonly revision: number;
  /** When it was written, by the broker's clock, in milliseconds since the epoch. */
  readonly writtenAtMs: number;
}

/** What a key in the bucket holds: `revision` is there also for one that was deleted or that nobody can read, and is free to be taken. */
export interface ClaimSlot {
  readonly stored: StoredClaim | undefined;
  /** 0: nothing is there. */
  readonly revision: number;
}

const OPERATION_HEADER = "KV-Operation";
/** ADR-43: the broker removes what marks a deletion after that time. */
const TTL_HEADER = "Nats-TTL";
const MARKER_TTL = "60s";

/** W1: who holds which worker's message. KV bucket `millrace_claims`, written only by compare-and-swap. */
export class ClaimStore {
  readonly #broker: Broker;
  readonly #stream = bucketStream(BUCKET.claims);

  constructor(options: { readonly broker: Broker }) {
    this.#broker = options.broker;
  }

  /** A read from the stream's leader. */
  async get(key: string): Promise<ClaimSlot> {
    const message = await this.#broker.last(this.#stream, bucketSubject(BUCKET.claims, key));
    return message === undefined ? { stored: undefined, revision: 0 } : { stored: storedClaim(message), revision: message.seq };
  }

  /** Writes `claim` if the key is still at `revision`; 0 means that it must hold nothing. */
  async swap(key: string, claim: WorkClaim, revision: number): Promise<SwapOutcome> {
    const body = JSON.stringify(claim);
    return this.#write(key, body, {}, revision);
  }

  /** Deletes the claim if it is still at `revision`. What marks the deletion, for those who watch, is gone a minute later. */
  async remove(key: string, revision: number): Promise<SwapOutcome> {
    return this.#write(key, "", { [OPERATION_HEADER]: "DEL", [TTL_HEADER]: MARKER_TTL }, revision);
  }

  async #write(
    key: string,
    body: string,
    headers: Readonly<Record<string, string>>,
    expectedLastSequence: number,
  ): Promise<SwapOutcome> {
    const subject = bucketSubject(BUCKET.claims, key);
    const outcome = await this.#broker.publish({ stream: this.#stream, subject, headers, body, expectedLastSequence });
    return outcome.kind === "stored" ? { kind: "won", revision: outcome.seq } : { kind: "lost" };
  }
}

/** A message of the bucket's stream; undefined when it marks a deletion, or is no claim that we know how to read. */
export function storedClaim(message: Omit<StoredMessage, "stream">): StoredClaim | undefined {
  if (message.data.length === 0 || message.headers[OPERATION_HEADER] !== undefined) return undefined;
  const parsed = workClaim.safeParse(parsedJson(message.data));
  if (!parsed.success) return undefined;
  return {
    key: claimKeyOf(message.subject),
    claim: parsed.data,
    revision: message.seq,
    writtenAtMs: Number(BigInt(message.storedAt) / 1_000_000n),
  };
}

export const claimKeyOf = (subject: string): string => subject.slice(bucketSubject(BUCKET.claims, "").length);

function parsedJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}
