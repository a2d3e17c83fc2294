import { createHash } from "node:crypto";

/** Who this installation is (`<namespace>.<release>`): two releases in one cluster never share a hash, a selector or a Job. */
export type Instance = string;

export const INSTANCE_PATTERN = /^[a-z0-9.-]+$/;
/** One NATS subject token, so no dots; ≤ 40 keeps labels and consumer names within their limits (rule N1). */
export const QUEUE_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;

export const LABEL = {
  managedBy: "app.kubernetes.io/managed-by",
  instance: "millrace.dev/instance",
  queue: "millrace.dev/queue",
  job: "millrace.dev/job",
  attempt: "millrace.dev/attempt",
  worker: "millrace.dev/worker",
  app: "app",
} as const;

export const ANNOTATION = {
  id: "millrace.dev/id",
  messageHash: "millrace.dev/message-hash",
  ack: "millrace.dev/ack",
  type: "millrace.dev/type",
  life: "millrace.dev/life",
  keepSeconds: "millrace.dev/keep-seconds",
  /** How many attempts the message asked for, instead of the queue's. */
  attempts: "millrace.dev/attempts",
  /** Set with the ttl, after everything else of settling (rule S5). */
  settled: "millrace.dev/settled",
  /** Set with `suspend`: the class that the Stop is for (rule J2). */
  stop: "millrace.dev/stop",
  /** What the Stop's reason will be for people; whichever monitor ends the Stop finds it here. */
  stopReason: "millrace.dev/stop-reason",
  traceparent: "millrace.dev/traceparent",
} as const;

export const MANAGED_BY = "millrace";

/** N6: every list and watch carries the instance. */
export function jobSelector(instance: Instance): string {
  return `${LABEL.managedBy}=${MANAGED_BY},${LABEL.instance}=${instance}`;
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** RFC 4648, lower case, without padding: safe in labels, DNS names and subjects. */
export function base32(bytes: Uint8Array, length: number): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5 && text.length < length) {
      text += BASE32[(value >>> (bits - 5)) & 31];
      bits -= 5;
    }
  }
  return text;
}

/** N1: 100 bits of identity, safe as a label, a DNS name and a subject token whatever the producer put into the id. */
export function jobHash(instance: Instance, queue: string, id: string): string {
  return base32(createHash("sha256").update(`${instance}\0${queue}\0${id}`).digest(), 20);
}

/** N3: over the producer's bytes, never over the rendered spec (a template edit would turn a redelivery into a conflict). */
export function messageHash(body: Uint8Array): string {
  return createHash("sha256").update(body).digest("hex");
}

/** N2: `<prefix ≤ 30>-<hash>-a<attempt>`, at most 57 characters because the Job controller copies it into a pod label. */
export function jobName(prefix: string, hash: string, attempt: number): string {
  return `${namePrefix(prefix)}-${hash}-a${attempt}`;
}

/** The prefix is cosmetic and comes from a message, so it is bent into a DNS-1123 label instead of being refused. */
export function namePrefix(text: string): string {
  const bent = text
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .slice(0, 30)
    .replace(/^-+|-+$/g, "");
  return bent === "" ? "job" : bent;
}

/** `apimachinery/pkg/util/validation.IsValidLabelValue`. */
export function isLabelValue(text: string): boolean {
  return text.length <= 63 && /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?$/.test(text);
}
