import { MillraceError } from "../../../libs/contract/errors.ts";
import type { MetricsPage } from "../../../libs/runtime/http-server.ts";
import type { MetricsOutcome } from "./thread-messages.ts";

const ANSWER_WITHIN_MS = 2_000;

/** The main thread's metrics, asked for when they are wanted. */
export class AskedMetrics implements MetricsPage {
  readonly contentType = "text/plain; version=0.0.4; charset=utf-8";
  readonly #ask: (request: number) => void;
  readonly #asked = new Map<number, PromiseWithResolvers<MetricsOutcome>>();
  #requests = 0;

  constructor(options: { readonly ask: (request: number) => void }) {
    this.#ask = options.ask;
  }

  /** @throws MillraceError `METRICS_UNAVAILABLE` */
  async text(): Promise<string> {
    this.#requests += 1;
    const request = this.#requests;
    const asked = Promise.withResolvers<MetricsOutcome>();
    this.#asked.set(request, asked);
    this.#ask(request);
    const timer = setTimeout(() => this.answer(request, { kind: "failed", why: "event loop is blocked" }), ANSWER_WITHIN_MS);
    const outcome = await asked.promise;
    clearTimeout(timer);
    if (outcome.kind === "failed") throw new MillraceError("METRICS_UNAVAILABLE", outcome.why);
    return outcome.text;
  }

  answer(request: number, outcome: MetricsOutcome): void {
    this.#asked.get(request)?.resolve(outcome);
    this.#asked.delete(request);
  }
}
