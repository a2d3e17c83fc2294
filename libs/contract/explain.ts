import { ageText } from "./age.ts";
import { assertNever } from "./errors.ts";
import type { FailureClass } from "./failure-class.ts";
import { mainContainer, type PodView, podEnded } from "./observation.ts";
import { currentAttempt, type JobRecord } from "./record.ts";
import type { Explanation, Pause } from "./requests.ts";
import { deadLetterSubject } from "./subjects.ts";

/** The consumer that hands the message out: JOBS' for a fresh one, RETRY's for every other. */
export interface Lane {
  readonly setting: "slots" | "retrySlots";
  readonly inUse: number;
  readonly limit: number;
  readonly waiting: number;
  readonly pause: Pause | undefined;
}

/** What is known of the place where a job stands, gathered by a monitor. Times are RFC 3339. */
export interface JobFacts {
  readonly at: string;
  readonly id: string;
  readonly queue: string;
  /** The queue is in the configuration. */
  readonly configured: boolean;
  readonly record: JobRecord | undefined;
  /** Where a message without a record is: how many of its queue come before it, or with a dispatcher that could not decide it yet. */
  readonly message: { readonly kind: "inLine"; readonly ahead: number } | { readonly kind: "delivered" } | undefined;
  readonly lane: Lane | undefined;
  /** The longest-running jobs of the queue, when its slots are in use. */
  readonly running: readonly { readonly id: string; readonly since: string }[];
  /** The last thing that happened to it is that the cluster said no (rule D8). */
  readonly blocked: { readonly at: string; readonly reason: string } | undefined;
  /** The recorded Job, looked at afresh; undefined when it is not in the cluster, or there is none; unknown when the API server did not answer. */
  readonly job: { readonly suspended: boolean; readonly stop?: string } | "unknown" | undefined;
  readonly pods: readonly PodView[];
}

/** Why a job is not running, or did not succeed, and what can be done. Most important first; nothing when all is well. */
export function explain(facts: JobFacts): Explanation[] {
  const { record } = facts;
  if (record === undefined) return waiting(facts);
  switch (record.state) {
    case "running":
      return starting(facts, record);
    case "retrying":
      return sleeping(facts, record) ?? waiting(facts);
    case "dead":
      return [dead(record)];
    case "succeeded":
    case "cancelled":
      return [];
    default:
      return assertNever(record.state);
  }
}

function waiting(facts: JobFacts): Explanation[] {
  const { queue, lane, message, blocked } = facts;
  if (!facts.configured) {
    return [
      {
        why: `no queue ${queue} is configured, so nobody takes its messages`,
        todo: `declare it under queues: in the values; after a while its messages go to the DLQ as unknown-queue`,
      },
    ];
  }
  const found: Explanation[] = [];
  if (lane?.pause !== undefined) {
    found.push({ why: `queue ${queue} is paused ${pauseText(lane.pause)}`, todo: `millrace queues resume ${queue}` });
  }
  if (blocked !== undefined) {
    found.push({
      why: `the cluster has been refusing it since ${blocked.at}: ${blocked.reason}`,
      todo: "nothing is lost; it is tried again by itself. Remove what refuses: a quota, a missing namespace or RoleBinding, an API server in trouble",
    });
  }
  if (message?.kind !== "delivered" && lane !== undefined && lane.inUse >= lane.limit) {
    found.push({
      why: `all ${lane.limit} ${lane.setting} of queue ${queue} are in use${usersText(facts)}`,
      todo: `wait for one to end, cancel one (millrace cancel ID), or raise queues.${queue}.${lane.setting}`,
    });
  }
  if (found.length > 0) return found;
  if (message?.kind === "inLine" && message.ahead > 0) {
    return [
      {
        why: `${message.ahead === 1 ? "1 message comes" : `${message.ahead} messages come`} before it on queue ${queue}`,
        todo: "wait; it is taken in its turn",
      },
    ];
  }
  const what =
    message?.kind === "delivered" ? "a dispatcher has it and has not made its Job yet" : "it is due and will be taken at once";
  return [{ why: what, todo: "if this lasts, look at the dispatchers: their /readyz and their logs (message.held) say why" }];
}

function sleeping(facts: JobFacts, record: JobRecord): Explanation[] | undefined {
  const { next } = record;
  if (next === undefined) return undefined;
  const leftMs = Date.parse(next.notBefore) - Date.parse(facts.at);
  if (leftMs <= 0) return undefined;
  const failed = currentAttempt(record);
  const cause =
    failed?.class === undefined ? (record.reason ?? "it was not to run before") : `${failed.class}: ${failed.reason ?? ""}`;
  const memory = Object.entries(next.memory ?? {}).map(([container, limit]) => `${container} gets ${limit}`);
  const what = `attempt ${next.attempt} sleeps until ${next.notBefore} (${ageText(leftMs)} from now)`;
  return [
    {
      why: [`${what} after ${cause}`, ...memory].join("; "),
      todo: `nothing: it wakes by itself. To give up: millrace cancel ${facts.id}`,
    },
    ...(facts.lane?.pause === undefined
      ? []
      : [
          {
            why: `queue ${facts.queue} is paused ${pauseText(facts.lane.pause)}, so it would wait even when it is due`,
            todo: `millrace queues resume ${facts.queue}`,
          },
        ]),
  ];
}

/** A record is `running` from the moment that its Job exists; its pod may be far from that. */
function starting(facts: JobFacts, record: JobRecord): Explanation[] {
  const { job, pods } = facts;
  const { namespace = "", name = "" } = record.job ?? {};
  const describe = `kubectl -n ${namespace} describe job ${name}`;
  if (job === undefined) {
    return [{ why: `its Job ${namespace}/${name} is not in the cluster; it is being judged`, todo: "look again in a minute" }];
  }
  if (job === "unknown") {
    return [{ why: "the API server does not answer the monitor, so it is not known how far its pod is", todo: describe }];
  }
  if (job.stop !== undefined)
    return [{ why: `the attempt is being stopped (${job.stop})`, todo: "wait until its pod has ended" }];
  if (job.suspended) {
    return [{ why: "somebody suspended its Job; the attempt counts as evicted", todo: "nothing: another attempt follows" }];
  }
  const pod = pods.find((candidate) => !podEnded(candidate)) ?? pods[0];
  if (pod === undefined) {
    return [
      {
        why: `its Job ${namespace}/${name} has no pod yet; when that lasts, the Job controller is behind, or a quota or an admission policy of namespace ${namespace} refuses its pods`,
        todo: `${describe} shows what refused them`,
      },
    ];
  }
  if (pod.unschedulable !== undefined) {
    return [
      {
        why: `unschedulable since ${pod.unschedulable.since}: ${pod.unschedulable.message}`,
        todo: "make room or add a node, or ask for less: resources, nodeSelector, tolerations of the job",
      },
    ];
  }
  const stuck = pod.containers.find((container) => container.waiting !== undefined && container.startedAt === undefined);
  const main = mainContainer(pod);
  if (pod.phase === "Pending" && stuck?.waiting !== undefined) return [containerWaits(stuck.name, stuck.waiting, pod)];
  if (pod.phase === "Pending" && main?.startedAt === undefined) {
    return [{ why: `its pod ${pod.name} is being started${pod.node === undefined ? "" : ` on ${pod.node}`}`, todo: "wait" }];
  }
  return [];
}

const PULLING = /^(?:ErrImage|ImagePull|InvalidImageName|RegistryUnavailable)/;

function containerWaits(name: string, waiting: { readonly reason: string; readonly message: string }, pod: PodView): Explanation {
  const { reason, message } = waiting;
  const text = message === "" ? reason : `${reason}: ${message}`;
  if (PULLING.test(reason)) {
    return {
      why: `the image of container ${name} cannot be pulled: ${text}`,
      todo: "correct the image's name, push it, or give the queue imagePullSecrets; after pullTimeout the job is dead",
    };
  }
  if (reason === "CreateContainerConfigError" || reason === "CreateContainerError") {
    return {
      why: `container ${name} cannot be made: ${text}`,
      todo: "create the ConfigMap, Secret or volume that it names; after pullTimeout the job is dead",
    };
  }
  const node = pod.node === undefined ? "" : ` on ${pod.node}`;
  return { why: `its pod ${pod.name} is being started${node} (${text})`, todo: "wait; a large image takes a while to be pulled" };
}

/** What a person can do about each class before running the job again. */
const REMEDY: Readonly<Record<FailureClass, string>> = {
  oom: "give the container more memory, or raise retry.oom.limit of the queue",
  evicted: "see what keeps evicting pods: pressure on the nodes, drains",
  preempted: "give the job a higher priority, or add nodes",
  nodeLost: "see why nodes are lost",
  lost: "see who deletes its pods",
  neverStarted: "see why its pods do not start: room on the nodes, quotas; or raise startTimeout",
  deadline: "make it quicker, or raise deadline",
  exit: "mend what its log tells",
  image: "correct the image's name, push it, or give the queue imagePullSecrets",
  containerConfig: "create what the pod names (ConfigMap, Secret, command), or correct the name",
  deleted: "somebody deleted its Job; run it again if it is still wanted",
  refused: "correct its template or the queue's policy; a wrong message needs a new id",
  cancelled: "run it again if it is wanted after all",
};

function dead(record: JobRecord): Explanation {
  const attempt = currentAttempt(record);
  const failure = attempt?.class;
  const entry = deadLetterSubject(record.queue, record.type, record.hash, record.attempt);
  const remedy = failure === undefined ? "see the reason" : REMEDY[failure];
  return {
    why: `dead after attempt ${record.attempt}: ${failure === undefined ? "" : `${failure}: `}${record.reason ?? attempt?.reason ?? "no reason is recorded"}`,
    todo: `${remedy}; then millrace rerun ${record.id}. Its log: millrace logs ${record.id}; its message: DLQ ${entry}`,
  };
}

function usersText({ running, at }: JobFacts): string {
  if (running.length === 0) return "";
  const users = running.slice(0, 3).map(({ id, since }) => `${id} (${ageText(Date.parse(at) - Date.parse(since))})`);
  return `, the longest by ${users.join(", ")}`;
}

export function pauseText(pause: Pause): string {
  const until = pause.until === undefined ? "until it is resumed" : `until ${pause.until}`;
  const who = pause.by === undefined ? "" : ` by ${pause.by}`;
  return `${until}${who}${pause.reason === undefined ? "" : `: ${pause.reason}`}`;
}
