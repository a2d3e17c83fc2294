import { expect, vi } from "vitest";
import { z } from "zod";
import type { KubeClient } from "../../libs/kube/client.ts";

const WAIT_MS = 60_000;
/** KEDA polls each 2 s. */
const LOOK_EVERY_MS = 500;

const scaledObject = z.looseObject({
  status: z.looseObject({
    lastActiveTime: z.string().optional(),
    conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).default([]),
  }),
});

interface ScaledObjectOptions {
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly name: string;
}

/**
 * What KEDA makes of a worker. At each poll it asks the scaler and writes down what came of it: when there was work last (`lastActiveTime`, if the
 * worker has pods), and whether it was answered at all (`Ready`).
 */
export class ScaledObject {
  readonly #kube: KubeClient;
  readonly #path: string;

  constructor({ kube, namespace, name }: ScaledObjectOptions) {
    this.#kube = kube;
    this.#path = `/apis/keda.sh/v1alpha1/namespaces/${namespace}/scaledobjects/${name}`;
  }

  /** Resolves when KEDA was told of work more than `byMs` after it was last told so by now. Of a worker whose handlers run all the time. */
  async toldAgain(byMs = 0): Promise<void> {
    const { activeAtMs } = await this.#look();
    await this.#until(async () => expect((await this.#look()).activeAtMs).toBeGreaterThan(activeAtMs + byMs));
  }

  /** Resolves when KEDA was not told of work for so long, because it is away or nobody answers it. */
  async untoldFor(ms: number): Promise<void> {
    await this.#until(async () => expect(Date.now() - (await this.#look()).activeAtMs).toBeGreaterThan(ms));
  }

  /** Resolves when KEDA says that nobody answers it. */
  async unanswered(): Promise<void> {
    await this.#until(async () => expect((await this.#look()).isReady).toBe(false));
  }

  async #look(): Promise<{ readonly activeAtMs: number; readonly isReady: boolean }> {
    const object = await this.#kube.json<unknown>({ method: "GET", path: this.#path });
    const { lastActiveTime, conditions } = scaledObject.parse(object).status;
    const isReady = conditions.some(({ type, status }) => type === "Ready" && status === "True");
    return { activeAtMs: lastActiveTime === undefined ? 0 : Date.parse(lastActiveTime), isReady };
  }

  async #until(holds: () => Promise<void>): Promise<void> {
    await vi.waitFor(holds, { timeout: WAIT_MS, interval: LOOK_EVERY_MS });
  }
}
