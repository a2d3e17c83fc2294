import { z } from "zod";
import { MillraceError } from "../../libs/contract/errors.ts";
import { QUEUE_PATTERN } from "../../libs/contract/names.ts";
import { workSubject } from "../../libs/contract/work-config.ts";

/** Which worker a ScaledObject scales. */
export interface WorkerRef {
  readonly worker: string;
  /** Listened to, so it must be a worker's: nobody hears everything by writing a ScaledObject. */
  readonly subject: string;
  /** Messages for each pod. */
  readonly lagThreshold: number;
}

/** KEDA sends the whole of the trigger's metadata; the rest, like the scaler's address, is its own. */
const metadata = z.object({
  worker: z.string().regex(QUEUE_PATTERN, "must be the name of a worker"),
  subject: workSubject,
  lagThreshold: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, "must be a whole number above 0")
    .transform(Number),
});

const scaledObject = z.object({ scalerMetadata: metadata });

/** @throws MillraceError `SCALED_OBJECT_INVALID` */
export function parseWorkerRef(ref: unknown): WorkerRef {
  const parsed = scaledObject.safeParse(ref);
  if (parsed.success) return parsed.data.scalerMetadata;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.slice(1).join(".") || "metadata"} ${message}`);
  throw new MillraceError(
    "SCALED_OBJECT_INVALID",
    `the trigger's metadata cannot be used: ${problems.join("; ")}. The chart writes worker, subject and lagThreshold`,
  );
}

/** KEDA puts `s<index>-` before it, and the HPA asks for it under that name. */
export function metricName({ worker }: Pick<WorkerRef, "worker">): string {
  return `millrace-${worker}`;
}
