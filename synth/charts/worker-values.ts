import { LABEL } from "../../libs/contract/names.ts";
import type { Check } from "../helm/chart-files.ts";
import { checkEach, type Entry } from "../helm/entries.ts";
import { anyOf, argument, condition, Expression, expressionOf, filled, goString, include, not, raw } from "../helm/expression.ts";
import { named } from "../release.ts";
import { v, type values } from "../values.ts";

/** What the parts of the chart want to know of the workers, and what must hold of them. */
export type Worker = Entry<typeof values.workers.fields>;

export const hasWorkers = condition(`not (empty ${v.workers.code})`);

/** Whether the monitor marks the busy pods of some worker. */
export const marksBusyPods = filled(include("millrace.markedWorkers"));

/** On its objects and its pods. */
export const workerLabels = ({ name }: Worker) => ({ [LABEL.app]: `${name}`, [LABEL.worker]: `${name}` });

/** The name of a worker's Deployment and of its ScaledObject. */
export const workerName = ({ name }: Worker): string => named(`worker-${name}`);

const triggerIs = ({ values }: Worker, trigger: string) => condition(`eq ${argument(values.trigger)} ${goString(trigger)}`);
export const isPush = (worker: Worker) => triggerIs(worker, "push");
export const isPoll = (worker: Worker) => triggerIs(worker, "poll");

/** A duration in whole seconds, rounded up. */
export const secondsOf = (duration: Expression<string>): Expression<number> =>
  new Expression(`div (add (include "millrace.milliseconds" ${argument(duration)} | int64) 999) 1000`, "int");

export const secondsAfter = (duration: Expression<string>, more: number): Expression<number> =>
  new Expression(`add (${secondsOf(duration).code}) ${more}`, "int");

const milliseconds = (duration: Expression<string>): string => `(include "millrace.milliseconds" ${argument(duration)} | int64)`;

/** The longest that the services take for a duration (`durationMs`): ten years. */
export const LONGEST_MS = 3_650 * 86_400_000;

/** Which of its variables the chart sets itself. */
const repeated = (ours: string[], { values }: Worker): Expression<string> => {
  const extra = `(include "millrace.environment" ${argument(values.env)} | fromJsonArray)`;
  return raw(`include "millrace.repeatedNames" (dict "ours" (list ${ours.map(goString).join(" ")}) "extra" ${extra})`);
};

const overlap = include("millrace.overlappingWorkers");
const reserved = include("millrace.reservedSubjects");

/** What must hold of the workers, and a schema cannot say. */
export const workerChecks = (variables: string[]): Check[] => [
  {
    unless: anyOf(not(hasWorkers), not(v.keda.enabled), condition('$.Capabilities.APIVersions.Has "keda.sh/v1alpha1"')).code,
    message: `there are workers, but the cluster has no KEDA, which gives them their pods. Install KEDA 2 as a release of its own (https://keda.sh/docs/latest/deploy), or set keda.enabled=false: then each worker has a fixed number of pods. Without a cluster say that KEDA will be there: helm template --api-versions keda.sh/v1alpha1.`,
  },
  {
    unless: not(filled(overlap)).code,
    message: `workers: ${overlap}. On a work queue each subject has one taker: give them subjects of which none covers the other.`,
  },
  {
    unless: not(filled(reserved)).code,
    message: `${reserved} begins with a name that is Millrace's own. Choose another first part for the subject.`,
  },
  {
    unless: `not (hasKey (${v.queues.code} | default dict) "work")`,
    message: "a queue cannot be called work, for the DLQ keeps under that name what workers gave up on. Choose another name.",
  },
  ...[
    (worker: Worker) => ({
      unless: `ge (${argument(worker.values.max)}) (${argument(worker.values.min)})`,
      message: `workers.${worker.name}: min is ${worker.values.min}, more than max, which is ${worker.values.max}. Lower the one or raise the other.`,
    }),
    (worker: Worker) => ({
      unless: `and (gt ${milliseconds(worker.values.timeout)} 0) (le ${milliseconds(worker.values.timeout)} ${LONGEST_MS})`,
      message: `workers.${worker.name}.timeout is ${worker.values.timeout}, but must be more than 0s and at most 3650d.`,
    }),
    (worker: Worker) => ({
      unless: `le ${milliseconds(worker.values.cooldown)} ${LONGEST_MS}`,
      message: `workers.${worker.name}.cooldown is ${worker.values.cooldown}, but must be at most 3650d.`,
    }),
    (worker: Worker) => ({
      unless: anyOf(not(isPoll(worker)), not(v.keda.enabled), v.nats.enabled, filled(v.nats.monitoring.endpoint)).code,
      message: `workers.${worker.name}.trigger is poll: KEDA asks NATS' monitoring port, so nats.monitoring.endpoint must name it, such as nats-headless.nats.svc:8222. Or set trigger to push.`,
    }),
    (worker: Worker) => ({
      unless: anyOf(not(v.keda.enabled), condition(`le (len (${expressionOf(workerName(worker)).code})) 63`)).code,
      message: `workers.${worker.name}: "${workerName(worker)}" is longer than the 63 characters that KEDA allows a ScaledObject. Choose a shorter name for the worker or the release (fullnameOverride).`,
    }),
    (worker: Worker) => ({
      unless: not(filled(repeated(variables, worker))).code,
      message: `workers.${worker.name}.env: the chart itself sets ${repeated(variables, worker)}. Leave it out; what the chart sets has a value of its own.`,
    }),
  ].map((check) => checkEach("worker", v.workers, check)),
];
