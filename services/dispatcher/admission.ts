import { type JobMessage, type OpenedMessage, type Outcome, parseMessage, rejected } from "../../libs/contract/message.ts";
import { authorise } from "../../libs/contract/policy.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import type { LiveConfig } from "../../libs/kube/dispatch-config-source.ts";
import { type RenderedJob, renderRaw, renderTemplate } from "../../libs/kube/rendered-job.ts";

/** What a message may run, and when. */
export interface Admitted {
  readonly job: RenderedJob;
  readonly runAtMs: number | undefined;
}

/** Decides whether a message may run and what it runs. Called only when rule D1–D6 say that a Job is to be made. */
export class Admission {
  readonly #config: () => LiveConfig;
  readonly #jobsNamespace: string;
  readonly #historyMs: number;
  readonly #nowMs: () => number;

  constructor(options: {
    readonly config: () => LiveConfig;
    readonly jobsNamespace: string;
    /** How long records are kept: a job that sleeps longer would be forgotten. */
    readonly historyMs: number;
    readonly nowMs: () => number;
  }) {
    this.#config = options.config;
    this.#jobsNamespace = options.jobsNamespace;
    this.#historyMs = options.historyMs;
    this.#nowMs = options.nowMs;
  }

  /** As it is configured at this moment; undefined when it was removed. */
  queue(name: string): QueueConfig | undefined {
    const { queues } = this.#config();
    return Object.hasOwn(queues, name) ? queues[name] : undefined;
  }

  admit(opened: OpenedMessage, queue: QueueConfig): Outcome<Admitted> {
    const parsed = parseMessage(opened);
    if (parsed.kind === "rejected") return parsed;
    const message = parsed.value;
    const runAtMs = message.shape === "template" && message.runAt !== undefined ? Date.parse(message.runAt) : undefined;
    if (runAtMs !== undefined && runAtMs - this.#nowMs() > this.#historyMs) {
      return rejected(
        "JOB_SPEC_INVALID",
        "runAt",
        `is further away than this installation's history of ${this.#historyMs / 1000} s`,
      );
    }
    const job = this.#render(message, queue);
    return job.kind === "rejected" ? job : { kind: "ok", value: { job: job.value, runAtMs } };
  }

  /** Where a Job of the message would be, whether it may run or not; undefined when its schema says nothing of that. */
  placeOf(opened: OpenedMessage, queue: QueueConfig): { readonly namespace: string; readonly prefix: string } | undefined {
    const parsed = parseMessage(opened);
    if (parsed.kind === "rejected") return undefined;
    const message = parsed.value;
    return message.shape === "raw"
      ? { namespace: message.job.namespace, prefix: message.job.prefixName }
      : { namespace: this.#namespaceOf(queue), prefix: message.template };
  }

  #namespaceOf(queue: QueueConfig): string {
    return queue.namespace === "" ? this.#jobsNamespace : queue.namespace;
  }

  #render(message: JobMessage, queue: QueueConfig): Outcome<RenderedJob> {
    const namespace = this.#namespaceOf(queue);
    if (message.shape === "raw") {
      const allowed = authorise(message.job, queue, namespace);
      return allowed.kind === "rejected" ? allowed : { kind: "ok", value: renderRaw({ message, queue }) };
    }
    const config = this.#config();
    // The name comes from outside: `constructor` names no template, though every object has one.
    const known = Object.hasOwn(config.templates, message.template);
    const template = known ? config.templates[message.template] : undefined;
    const schema = config.params[message.template];
    if (template === undefined || schema === undefined) {
      return rejected("TEMPLATE_UNKNOWN", "template", "names no template of this installation");
    }
    const params = schema.check(message.params ?? {});
    if (params.kind === "rejected") return params;
    return { kind: "ok", value: renderTemplate({ message, template, params: params.value, queue, namespace }) };
  }
}
