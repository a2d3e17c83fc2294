import { errorText } from "../../libs/contract/errors.ts";
import type { DispatchConfigSource } from "../../libs/kube/dispatch-config-source.ts";
import { Backoff, pause } from "../../libs/runtime/backoff.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Provisioner } from "../../libs/streams/provision.ts";

/**
 * Keeps the broker's consumers what the configured queues say: now, after each change of the configuration, and with each sweep, for a queue
 * whose consumer somebody removed stands still.
 */
export class ConsumerProvisioning implements Service {
  readonly name = "consumer-provisioning";
  readonly #provisioner: Provisioner;
  readonly #config: DispatchConfigSource;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #unsubscribe: (() => void) | undefined;
  #changed = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;
  #problem: string | undefined = "not provisioned yet";

  constructor(options: { readonly provisioner: Provisioner; readonly config: DispatchConfigSource; readonly log: Log }) {
    this.#provisioner = options.provisioner;
    this.#config = options.config;
    this.#log = options.log;
  }

  start(): Promise<void> {
    this.#unsubscribe = this.#config.subscribe(() => this.#changed.resolve());
    this.#running ??= this.#run();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#stop.abort();
    this.#changed.resolve();
    await this.#running;
  }

  sweep(): Promise<void> {
    this.#changed.resolve();
    return Promise.resolve();
  }

  problem(): string | undefined {
    return this.#problem;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const backoff = new Backoff({ initialMs: 200, maxMs: 10_000 });
    for (;;) {
      await this.#changed.promise;
      if (signal.aborted) return;
      this.#changed = Promise.withResolvers<void>();
      try {
        await this.#provisioner.consumers(this.#config.current);
        this.#problem = undefined;
        backoff.reset();
      } catch (error) {
        this.#problem = errorText(error);
        this.#log.warn("consumers.not-provisioned", { problem: this.#problem });
        await pause(backoff.nextMs(), signal);
        this.#changed.resolve();
      }
    }
  }
}
