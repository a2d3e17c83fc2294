import type { KubeClient, KubeRequest } from "../client.ts";
import { KubeApiError } from "../errors.ts";
import type { FakeLeases } from "./fake-leases.ts";
import type { VirtualTime } from "./virtual-time.ts";

const never = new AbortController().signal;

/**
 * A client on virtual time. A request that its sender has given up still arrives; while the server is away, nothing of it is carried out.
 */
export class SimulatedClient implements Pick<KubeClient, "json"> {
  /** Nothing arrives and nothing comes back. */
  away = false;
  /** What was asked is carried out, and the answer is lost. */
  mute = false;
  readonly #time: VirtualTime;
  readonly #leases: FakeLeases;
  readonly #travelMs: () => number;

  constructor(options: { readonly time: VirtualTime; readonly leases: FakeLeases; readonly travelMs?: () => number }) {
    this.#time = options.time;
    this.#leases = options.leases;
    this.#travelMs = options.travelMs ?? (() => 1);
  }

  async json<T>(request: KubeRequest): Promise<T> {
    const given = Promise.withResolvers<undefined>();
    const { signal = never } = request;
    if (signal.aborted) given.resolve(undefined);
    signal.addEventListener("abort", () => given.resolve(undefined), { once: true });
    const answer = await Promise.race([this.#exchange(request), given.promise]);
    if (answer === undefined || signal.aborted) {
      throw new KubeApiError({ status: 0, reason: "NoAnswer", message: "no answer from the API server" });
    }
    if ("lease" in answer) return structuredClone(answer.lease) as T;
    throw new KubeApiError({ status: answer.status, reason: answer.reason, message: answer.reason });
  }

  async #exchange(request: KubeRequest) {
    // As the wire does: what the sender changes afterwards does not travel.
    const sent = structuredClone({ method: request.method, path: request.path, body: request.body });
    await this.#time.wait(this.#travelMs(), never);
    if (this.away) return new Promise<never>(() => {});
    const answer = this.#leases.answer(sent);
    await this.#time.wait(this.#travelMs(), never);
    return this.away || this.mute ? new Promise<never>(() => {}) : answer;
  }
}
