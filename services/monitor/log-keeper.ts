import type { V1Job } from "@kubernetes/client-node";
import { errorText } from "../../libs/contract/errors.ts";
import { jobFields, type LoggedJob } from "../../libs/contract/job-fields.ts";
import { mainContainer, type PodView } from "../../libs/contract/observation.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import { redactedTail, secretsOf } from "../../libs/contract/redaction.ts";
import { parseQuantity } from "../../libs/contract/units.ts";
import { startOf } from "../../libs/contract/verdict.ts";
import type { JobsApi } from "../../libs/kube/jobs-api.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { LogTails } from "../../libs/streams/log-tails.ts";

const DEFAULT_TAIL = "64Ki";

/**
 * Keeps the end of an attempt's log before its pod goes: what a failed attempt said last is worth more than any verdict. Best effort: a log that
 * cannot be read must never keep a job from being settled.
 */
export class LogKeeper {
  readonly #jobs: Pick<JobsApi, "podLog" | "get">;
  readonly #tails: Pick<LogTails, "put">;
  readonly #log: Log;

  constructor(options: {
    readonly jobs: Pick<JobsApi, "podLog" | "get">;
    readonly tails: Pick<LogTails, "put">;
    readonly log: Log;
  }) {
    this.#jobs = options.jobs;
    this.#tails = options.tails;
    this.#log = options.log;
  }

  /** `container`: the one whose end decided; else the main one. False: there was nothing to keep, yet. */
  async keep(options: {
    readonly of: LoggedJob & { readonly hash: string };
    /** Tells which values are secret. */
    readonly job: V1Job;
    readonly pods: readonly PodView[];
    readonly container: string | undefined;
    readonly queue: Pick<QueueConfig, "logTail"> | undefined;
  }): Promise<boolean> {
    const { pods, job } = options;
    const { hash, attempt } = options.of;
    const bytes = parseQuantity(options.queue?.logTail ?? DEFAULT_TAIL) ?? 0;
    const pod = [...pods].sort((a, b) => b.createdAt.localeCompare(a.createdAt)).find(hasStarted);
    const container = options.container ?? (pod === undefined ? undefined : mainContainer(pod)?.name);
    // A node that is lost answers nothing, and every attempt on it would wait for that.
    if (pod?.disruption === "DeletionByTaintManager") return false;
    if (bytes === 0 || pod === undefined || container === undefined) return false;
    try {
      const text = await this.#jobs.podLog(pod.namespace, pod.name, container, bytes);
      if (text === undefined || text === "") return false;
      const spec = job.spec?.template.spec;
      const secrets = secretsOf([...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]);
      await this.#tails.put(hash, attempt, redactedTail(text, secrets, bytes));
      return true;
    } catch (error) {
      this.#log.warn("log.not-kept", { ...jobFields(options.of), pod: pod.name, problem: errorText(error) });
      return false;
    }
  }
}

function hasStarted(pod: PodView): boolean {
  return pod.containers.some((container) => startOf(container) !== undefined);
}
