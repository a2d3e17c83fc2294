import { z } from "zod";
import { MillraceError } from "./errors.ts";
import { quantity } from "./units.ts";

/** Why a message can never run. Codes are stable; the message names the offending path and never quotes the payload. */
export const REJECT_CODES = [
  "BODY_TOO_LARGE",
  "BODY_INVALID",
  "HEADERS_TOO_LARGE",
  "CLOUD_EVENT_INVALID",
  "ID_INVALID",
  "ID_CONFLICT",
  "JOB_SPEC_INVALID",
  "TEMPLATE_UNKNOWN",
  "PARAMS_INVALID",
  "POLICY_DENIED",
  "API_REJECTED",
  "API_REFUSED",
  "RETRY_INVALID",
  "INTERNAL",
  "UNKNOWN_QUEUE",
] as const;
export type RejectCode = (typeof REJECT_CODES)[number];

/** The message's own fault: it goes to the DLQ at first sight with this as its reason (rules D7, D11). */
export interface Rejection {
  readonly code: RejectCode;
  /** Where in the body, `job.env[0].name`; empty for the whole. */
  readonly path: string;
  readonly reason: string;
}

export interface Rejected {
  readonly kind: "rejected";
  readonly rejection: Rejection;
}

export type Outcome<T> = { readonly kind: "ok"; readonly value: T } | Rejected;

export const accepted = <T>(value: T): Outcome<T> => ({ kind: "ok", value });
export const rejected = (code: RejectCode, path: string, reason: string): Rejected => ({
  kind: "rejected",
  rejection: { code, path, reason },
});

export const MESSAGE_LIMITS = { bodyBytes: 64 * 1024, headerBytes: 16 * 1024, idLength: 256, depth: 32 } as const;

/** Env that Millrace sets itself: a message must not be able to forge its own identity. */
const RESERVED_ENV = /^(?:MILLRACE_|TRACEPARENT$)/;

const envName = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[^=\0]+$/, "must not contain '=' or NUL")
  .refine((name) => !RESERVED_ENV.test(name), "is reserved for Millrace");
const noNul = z.string().refine((text) => !text.includes("\0"), "must not contain NUL");
const strings = z.array(noNul).max(1000);
const quantities = z.record(z.string().max(253), quantity);
const envSources = z
  .array(
    z.strictObject({
      name: z.string().min(1).max(253),
      type: z.enum(["configmap", "configMap", "secret"]).transform((type) => (type === "configmap" ? "configMap" : type)),
    }),
  )
  .max(50);

const rawJob = z
  .strictObject({
    prefixName: z.string().min(1).max(253),
    namespace: z.string().min(1).max(63),
    image: z.string().min(1).max(1024),
    command: strings.optional(),
    args: strings.optional(),
    serviceAccount: z
      .string()
      .max(253)
      .transform((name) => (name === "" ? "default" : name))
      .optional(),
    ttlSecondsAfterFinished: z.int().min(0).max(31_536_000).optional(),
    backoffLimit: z.int().min(0).max(100).optional(),
    activeDeadlineSeconds: z.int().min(1).max(31_536_000).optional(),
    gpuEnable: z.boolean().optional(),
    gpuNumber: z.int().min(0).max(64).optional(),
    env: z
      .array(z.strictObject({ name: envName, value: noNul }))
      .max(1000)
      .optional(),
    envRef: envSources.optional(),
    envFrom: envSources.optional(),
    resources: z.strictObject({ limits: quantities.optional(), requests: quantities.optional() }).optional(),
    nodeSelector: z.strictObject({ matchKey: z.string().min(1).max(317), matchValue: z.string().max(63) }).optional(),
    toleration: z.strictObject({ key: z.string().min(1).max(317), value: z.string().max(63) }).optional(),
    volume: z
      .strictObject({
        mountPath: z
          .string()
          .regex(/^[^:\0]+$/, "must be a path without ':' and NUL")
          // The kubelet's own reading of a relative path, said here so that the Job shows it.
          .transform((path) => (path.startsWith("/") ? path : `/${path}`)),
        pvc: z.string().min(1).max(253),
      })
      .optional(),
  })
  .refine((job) => job.envRef === undefined || job.envFrom === undefined, {
    message: "envRef and envFrom are two names of one field: give one",
    path: ["envFrom"],
  });

const PATH_LENGTH = 300;

/** It becomes an environment variable and is hashed as UTF-8, where every lone surrogate looks the same. */
export const messageIdText = z
  .string()
  .min(1)
  .max(MESSAGE_LIMITS.idLength)
  .refine((text) => text.isWellFormed() && !text.includes("\0"));
export const ID_PROBLEM = `must be a string of 1 to ${MESSAGE_LIMITS.idLength} characters, without NUL and lone surrogates`;
const service = z.string().max(253);
const webhook = z.strictObject({ url: z.url({ protocol: /^https?$/ }).max(2048) });

export const rawMessage = z.strictObject({
  id: messageIdText.optional(),
  service: service.optional(),
  job: rawJob,
  webhook: webhook.optional(),
});
export const templateMessage = z.strictObject({
  id: messageIdText.optional(),
  template: z.string().min(1).max(63),
  params: z.record(z.string().max(256), z.json()).optional(),
  webhook: webhook.optional(),
  service: service.optional(),
  runAt: z.iso
    .datetime({ offset: true, error: "must be an RFC 3339 time with its offset, such as 2026-01-31T08:00:00Z" })
    .optional()
    .describe("Not before this time"),
});

export type RawMessage = z.output<typeof rawMessage>;
export type TemplateMessage = z.output<typeof templateMessage>;
export type JobMessage = ({ readonly shape: "raw" } & RawMessage) | ({ readonly shape: "template" } & TemplateMessage);

/** A message whose identity can be read: enough to look up the record (rule D1); its schema is checked only before a POST. */
export interface OpenedMessage {
  /** The id that the job message itself names. */
  readonly id: string | undefined;
  /** Source and id of the CloudEvent that the job message came in. */
  readonly eventIdentity: string | undefined;
  /** Of the message's headers, else of the CloudEvent; one that is malformed counts as absent. */
  readonly traceparent: string | undefined;
  /** From where the traceparent is. */
  readonly tracestate: string | undefined;
  /** The job message, out of its envelope. */
  readonly value: Readonly<Record<string, unknown>>;
}

/** Checks an opened message against the schema of its shape: with `job` it is raw, otherwise it names a template. */
export function parseMessage(opened: Pick<OpenedMessage, "value">): Outcome<JobMessage> {
  if ("job" in opened.value) {
    const raw = rawMessage.safeParse(opened.value);
    return raw.success ? accepted({ shape: "raw", ...raw.data }) : specInvalid(raw.error);
  }
  const template = templateMessage.safeParse(opened.value);
  return template.success ? accepted({ shape: "template", ...template.data }) : specInvalid(template.error);
}

function specInvalid(error: z.ZodError): Rejected {
  const issue = error.issues[0];
  if (issue === undefined) throw new MillraceError("INTERNAL", "a schema refused a message without an issue");
  // For an unknown field zod points at the parent; people look for the field.
  const path = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0] ?? ""] : issue.path;
  const reason = issue.code === "unrecognized_keys" ? "unknown field" : issue.message;
  return rejected("JOB_SPEC_INVALID", pathText(path), reason);
}

/** Keys of the producer's are part of it, so it is cut: it must fit into a header (rule N5). */
export function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const step of path) {
    const name = String(step).slice(0, 64);
    text += typeof step === "number" ? `[${name}]` : text === "" ? name : `.${name}`;
  }
  return text.slice(0, PATH_LENGTH);
}
