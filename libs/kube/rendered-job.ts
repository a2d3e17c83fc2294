import type { V1Container, V1PodSpec } from "@kubernetes/client-node";
import { z } from "zod";
import { MillraceError } from "../contract/errors.ts";
import { pathText, type RawMessage, type TemplateMessage } from "../contract/message.ts";
import { MAIN_CONTAINER } from "../contract/observation.ts";
import type { QueueConfig, TemplateConfig } from "../contract/queue-config.ts";
import type { Params } from "../contract/template.ts";
import { substitute } from "../contract/template.ts";
import { parseQuantity } from "../contract/units.ts";

/** What a message asks to run, before identity and the security defaults are added. */
export interface RenderedJob {
  readonly namespace: string;
  readonly prefix: string;
  readonly service: string | undefined;
  readonly podSpec: V1PodSpec;
  readonly deadlineSeconds: number;
  /** Overrides the queue's `keep`. */
  readonly keepSeconds: number | undefined;
  /** Overrides the queue's `retry.attempts`. */
  readonly attempts: number | undefined;
  /** The whole parameters, for `MILLRACE_PARAMS`. */
  readonly params: Params;
}

export function renderTemplate(options: {
  readonly message: TemplateMessage;
  readonly template: TemplateConfig;
  readonly params: Params;
  readonly queue: QueueConfig;
  readonly namespace: string;
}): RenderedJob {
  const { message, params, queue } = options;
  const podSpec = templatePodSpec(options.template, message.template);
  const fill = (text: string): string => substitute(text, params);
  const filled = (container: V1Container): V1Container => ({
    ...container,
    ...(container.command === undefined ? {} : { command: container.command.map(fill) }),
    ...(container.args === undefined ? {} : { args: container.args.map(fill) }),
    ...(container.env === undefined
      ? {}
      : { env: container.env.map((entry) => (entry.value === undefined ? entry : { ...entry, value: fill(entry.value) })) }),
  });
  return {
    namespace: options.namespace,
    prefix: message.template,
    service: message.service,
    deadlineSeconds: Math.ceil(queue.deadline / 1000),
    keepSeconds: undefined,
    attempts: undefined,
    params,
    podSpec: {
      ...podSpec,
      containers: podSpec.containers.map(filled),
      ...(podSpec.initContainers === undefined ? {} : { initContainers: podSpec.initContainers.map(filled) }),
    },
  };
}

/** YAML writes an empty field as null, and the API server reads it as absent. */
const orAbsent = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? undefined);

const container = z.looseObject({
  name: z.string(),
  command: orAbsent(z.array(z.string())),
  args: orAbsent(z.array(z.string())),
  env: orAbsent(z.array(z.looseObject({ name: z.string(), value: orAbsent(z.string()) }))),
});
/** What rendering and the manifest touch; the rest of a PodSpec is the API server's to check. */
const podSpecShape = z.looseObject({
  containers: z.array(container).min(1, "must hold at least one container"),
  initContainers: orAbsent(z.array(container)),
  tolerations: orAbsent(z.array(z.looseObject({}))),
});

/** @throws MillraceError `TEMPLATE_INVALID` naming the path, when the template's podSpec cannot be filled */
export function templatePodSpec(template: TemplateConfig, name: string): V1PodSpec {
  if (template.podSpec !== undefined) {
    const parsed = podSpecShape.safeParse(structuredClone(template.podSpec));
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      const path = pathText(["podSpec", ...(issue?.path ?? [])]);
      throw new MillraceError("TEMPLATE_INVALID", `template ${name}: ${path}: ${issue?.message ?? "is invalid"}`);
    }
    return parsed.data as V1PodSpec;
  }
  return {
    ...(template.serviceAccount === undefined
      ? {}
      : { serviceAccountName: template.serviceAccount, automountServiceAccountToken: true }),
    containers: [
      {
        name: MAIN_CONTAINER,
        ...(template.image === undefined ? {} : { image: template.image }),
        ...(template.command === undefined ? {} : { command: template.command }),
        ...(template.args === undefined ? {} : { args: template.args }),
        ...(template.env === undefined
          ? {}
          : { env: Object.entries(template.env).map(([key, value]) => ({ name: key, value })) }),
        ...(template.resources === undefined ? {} : { resources: structuredClone(template.resources) }),
      },
    ],
  };
}

/** Requests of a raw message that names none: without them the API server would reserve its whole limit. */
const RAW_REQUESTS: Readonly<Record<string, string>> = { cpu: "100m", memory: "128Mi" };

/** An authorised raw message (design §4.1): every field of the shape has its place, the ceiling stands in for missing limits. */
export function renderRaw(options: { readonly message: RawMessage; readonly queue: QueueConfig }): RenderedJob {
  const { job } = options.message;
  const { queue } = options;
  const { ceiling } = queue.policy;
  // Only of what every container uses: a ceiling of GPUs allows them, it does not hand them out.
  const standIns = Object.keys(RAW_REQUESTS).flatMap((name) => (ceiling[name] === undefined ? [] : [[name, ceiling[name]]]));
  const limits: Record<string, string> = { ...Object.fromEntries(standIns), ...job.resources?.limits };
  const requests = Object.fromEntries(
    Object.entries(RAW_REQUESTS).map(([resource, amount]) => [resource, smaller(amount, limits[resource])]),
  );
  const gpus = job.gpuEnable === true ? (job.gpuNumber ?? 1) : 0;
  const granted = job.serviceAccount === "default" ? undefined : job.serviceAccount;
  const envFrom = (job.envRef ?? job.envFrom ?? []).map(({ name, type }) =>
    type === "secret" ? { secretRef: { name } } : { configMapRef: { name } },
  );
  return {
    namespace: job.namespace,
    prefix: job.prefixName,
    service: options.message.service,
    deadlineSeconds: job.activeDeadlineSeconds ?? Math.ceil(queue.deadline / 1000),
    keepSeconds: job.ttlSecondsAfterFinished,
    // Kubernetes counts retries, Millrace attempts.
    attempts: job.backoffLimit === undefined ? undefined : job.backoffLimit + 1,
    params: {},
    podSpec: {
      ...(granted === undefined ? {} : { serviceAccountName: granted, automountServiceAccountToken: true }),
      ...(job.nodeSelector === undefined ? {} : { nodeSelector: { [job.nodeSelector.matchKey]: job.nodeSelector.matchValue } }),
      ...(job.toleration === undefined
        ? {}
        : { tolerations: [{ key: job.toleration.key, operator: "Equal", value: job.toleration.value }] }),
      ...(job.volume === undefined ? {} : { volumes: [{ name: "data", persistentVolumeClaim: { claimName: job.volume.pvc } }] }),
      containers: [
        {
          name: MAIN_CONTAINER,
          image: job.image,
          ...(job.command === undefined ? {} : { command: job.command }),
          ...(job.args === undefined || job.args.length === 0 ? {} : { args: job.args }),
          ...(job.env === undefined ? {} : { env: job.env }),
          ...(envFrom.length === 0 ? {} : { envFrom }),
          ...(job.volume === undefined ? {} : { volumeMounts: [{ name: "data", mountPath: job.volume.mountPath }] }),
          resources: {
            limits: { ...limits, ...(gpus === 0 ? {} : { "nvidia.com/gpu": String(gpus) }) },
            requests: { ...requests, ...job.resources?.requests },
          },
        },
      ],
    },
  };
}

function smaller(amount: string, limit: string | undefined): string {
  if (limit === undefined) return amount;
  return (parseQuantity(limit) ?? 0) < (parseQuantity(amount) ?? 0) ? limit : amount;
}
