import type { V1ConfigMap } from "@kubernetes/client-node";
import { errorText, MillraceError } from "../contract/errors.ts";
import { pathText } from "../contract/message.ts";
import { type DispatchConfig, dispatchConfig } from "../contract/queue-config.ts";
import { ParamsSchema } from "../contract/template.ts";
import type { Service } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import type { KubeClient } from "./client.ts";
import { templatePodSpec } from "./rendered-job.ts";
import { Watch } from "./watch.ts";

/** The key of the ConfigMap that the chart writes. */
export const CONFIG_KEY = "config.json";

/** Queues and templates, ready to be used: a template's schema is compiled once. */
export interface LiveConfig extends DispatchConfig {
  readonly params: Readonly<Record<string, ParamsSchema>>;
}

/** @throws MillraceError `DISPATCH_CONFIG_INVALID` naming the path */
export function parseDispatchConfig(text: string): LiveConfig {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new MillraceError("DISPATCH_CONFIG_INVALID", `${CONFIG_KEY} is not JSON: ${errorText(error)}`, { cause: error });
  }
  const parsed = dispatchConfig.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${pathText(issue.path)}: ${issue.message}`);
    throw new MillraceError("DISPATCH_CONFIG_INVALID", problems.join("; "));
  }
  const params = Object.entries(parsed.data.templates).map(([name, template]) => {
    try {
      templatePodSpec(template, name);
    } catch (error) {
      throw new MillraceError("DISPATCH_CONFIG_INVALID", errorText(error), { cause: error });
    }
    try {
      return [name, new ParamsSchema(template)] as const;
    } catch (error) {
      throw new MillraceError("DISPATCH_CONFIG_INVALID", `templates.${name}.params: ${errorText(error)}`, { cause: error });
    }
  });
  return { ...parsed.data, params: Object.fromEntries(params) };
}

interface ConfigView {
  readonly uid: string;
  readonly text: string;
}

/**
 * Follows the ConfigMap through the API, so that a change is live within a second and no pod restarts. A configuration that cannot be used, and
 * one that was deleted, changes nothing: the last good one stays in force and the problem shows in readiness and in the log.
 */
export class DispatchConfigSource implements Service {
  readonly name = "dispatch-config";
  readonly #watch: Watch<ConfigView>;
  readonly #log: Log;
  readonly #configMap: string;
  readonly #listeners = new Set<(config: LiveConfig) => void>();
  readonly #first = Promise.withResolvers<void>();
  #current: LiveConfig | undefined;
  /** What was read last. */
  #read: ConfigView | undefined;
  #problem: string | undefined = "the ConfigMap was not found yet";

  constructor(options: {
    readonly client: KubeClient;
    readonly namespace: string;
    readonly configMap: string;
    readonly log: Log;
  }) {
    this.#log = options.log;
    this.#configMap = options.configMap;
    this.#watch = new Watch<ConfigView>({
      client: options.client,
      path: `/api/v1/namespaces/${options.namespace}/configmaps`,
      selector: { fieldSelector: `metadata.name=${options.configMap}` },
      project: (object) => ({ uid: object.metadata.uid, text: (object as V1ConfigMap).data?.[CONFIG_KEY] ?? "" }),
      onChange: (change) => {
        if (change.kind === "present") this.#changed(change.view);
        else this.#gone(change.last);
      },
      log: options.log,
    });
  }

  /** Resolves once there is a configuration that can be used. */
  async start(): Promise<void> {
    await this.#watch.start();
    await this.#first.promise;
  }

  async stop(): Promise<void> {
    this.#first.resolve();
    await this.#watch.stop();
  }

  /** @throws before `start` has resolved */
  get current(): LiveConfig {
    if (this.#current === undefined) throw new MillraceError("INTERNAL", "the configuration was read before it was there");
    return this.#current;
  }

  /** Calls back now and after each change; what is returned ends that. */
  subscribe(listener: (config: LiveConfig) => void): () => void {
    this.#listeners.add(listener);
    if (this.#current !== undefined) listener(this.#current);
    return () => this.#listeners.delete(listener);
  }

  problem(): string | undefined {
    return this.#problem ?? this.#watch.problem();
  }

  /** How long ago the ConfigMap was last known to be followed. */
  freshnessMs(): number {
    return this.#watch.freshnessMs();
  }

  /** A list after a gap tells what is known, too. */
  #changed(view: ConfigView): void {
    const isKnown = this.#read?.text === view.text;
    this.#read = view;
    if (!isKnown) this.#apply(view.text);
  }

  /** One that was made anew under its name may be seen before the old one goes. */
  #gone({ uid }: ConfigView): void {
    if (this.#read?.uid !== uid) return;
    this.#read = undefined;
    this.#problem = `the ConfigMap ${this.#configMap} was deleted; what it said last is in force`;
    this.#log.error("config.gone", { problem: this.#problem });
  }

  #apply(text: string): void {
    try {
      this.#current = parseDispatchConfig(text);
    } catch (error) {
      this.#problem = errorText(error);
      this.#log.error("config.refused", { problem: this.#problem });
      return;
    }
    this.#problem = undefined;
    this.#log.info("config.applied", {
      queues: Object.keys(this.#current.queues),
      templates: Object.keys(this.#current.templates),
    });
    for (const listener of this.#listeners) listener(this.#current);
    this.#first.resolve();
  }
}
