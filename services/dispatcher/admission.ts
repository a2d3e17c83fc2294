import type { OpenedMessage } from "../../libs/contract/message.ts";
import { type JobMessage, type Outcome, parseMessage, rejected } from "../../libs/contract/message.ts";
import { authorise } from "../../libs/contract/policy.ts";
import type { QueueConfig } from "../../libs/contract/queue-config.ts";
import type { LiveConfig } from "../../libs/kube/dispatch-config-source.ts";
import { type RenderedJob, renderRaw, renderTemplate } from "../../libs/kube/rendered-job.ts";

/** Decides whether a message may run and what it runs. Called only when rule D1–D6 say that a Job is to be made. */
export class Admission {
  readonly #config: () => LiveConfig;
  readonly #jobsNamespace: string;

  constructor(options: { readonly config: () => LiveConfig; readonly jobsNamespace: string }) {
    this.#config = options.config;
    this.#jobsNamespace = options.jobsNamespace;
  }

  admit(opened: OpenedMessage, queue: QueueConfig): Outcome<RenderedJob> {
    const parsed = parseMessage(opened);
    return parsed.kind === "rejected" ? parsed : this.#render(parsed.value, queue);
  }

  #render(message: JobMessage, queue: QueueConfig): Outcome<RenderedJob> {
    const namespace = queue.namespace === "" ? this.#jobsNamespace : queue.namespace;
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
