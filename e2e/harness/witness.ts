import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { pause } from "../../libs/runtime/backoff.ts";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { renderPictures } from "../../scripts/install/pictures.ts";
import { productTag } from "../../scripts/install/product-image.ts";
import { sideService } from "../../scripts/install/side-service.ts";
import { atLeast, Changes } from "./changes.ts";
import { openRelay, type Relay } from "./relay.ts";

const NAME = "witness";
const WAIT_MS = 120_000;

const toldSchema = z.looseObject({
  what: z.string(),
  /** Of the message that it is about, or the path of a picture. */
  key: z.string(),
  attempt: z.number().optional(),
  pod: z.string().optional(),
  atMs: z.number(),
});
export type Told = z.infer<typeof toldSchema>;

type Kubectl = (args: readonly string[], input?: string) => Promise<string>;

/** Where the witness is put. */
export interface WitnessPlace {
  readonly cluster: LocalCluster;
  readonly namespace: string;
  readonly kubectl: Kubectl;
}

export const witnessUrl = (namespace: string): string => `http://${NAME}.${namespace}`;

/** A pod that serves pictures to the workers, hears what their handlers do and makes them wait; the tests wait for what it heard. */
export class Witness implements AsyncDisposable {
  readonly told: Told[] = [];
  readonly #relay: Relay;
  readonly #stop = new AbortController();
  readonly #changes = new Changes();
  #listening: Promise<void> | undefined;

  private constructor(relay: Relay) {
    this.#relay = relay;
  }

  static async install({ namespace, kubectl }: WitnessPlace): Promise<void> {
    const server = readFileSync(join(import.meta.dirname, "witness-server.ts"), "utf8");
    const pictures = [...(await renderPictures())].filter(([file]) => file.startsWith("2000x1000"));
    const binaryData = Object.fromEntries(pictures.map(([file, bytes]) => [file, bytes.toString("base64")]));
    const files = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: NAME, namespace },
      data: { "main.ts": server },
      binaryData,
    };
    const pod = sideService({
      name: NAME,
      namespace,
      image: `localhost/millrace:${await productTag()}`,
      command: ["/usr/local/bin/node", "/witness/main.ts", "/witness"],
      port: 8080,
      path: "/told?from=-1",
      volumes: [{ name: "witness", mountPath: "/witness", volume: { configMap: { name: NAME } } }],
      // Whatever becomes of another node.
      nodeSelector: { "kubernetes.io/hostname": "node0" },
    });
    await kubectl(
      ["apply", "--server-side", "-f", "-"],
      JSON.stringify({ apiVersion: "v1", kind: "List", items: [files, ...pod] }),
    );
    await kubectl(["-n", namespace, "rollout", "status", `deployment/${NAME}`, "--timeout=120s"]);
  }

  /** Hears all that was told since it was installed. */
  static async open({ cluster, namespace, kubectl }: WitnessPlace): Promise<Witness> {
    const host = await kubectl(["-n", namespace, "get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}"]);
    const witness = new Witness(await openRelay({ netnsFile: `/run/netns/${cluster.name}`, host, port: 80 }));
    witness.#listening = witness.#listen();
    return witness;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#listening;
    await this.#relay[Symbol.asyncDispose]();
  }

  /** All that is held there, and will be, goes on. */
  async openGate(name: string): Promise<void> {
    await this.#request(`/gates/${name}`, { method: "POST" });
  }

  /** What was told of a message, in order. */
  of(key: string, what?: string): Told[] {
    return this.told.filter((entry) => entry.key === key && (what === undefined || entry.what === what));
  }

  /** Resolves with what matches as soon as there are `count` of it. */
  async waitFor(what: string, matches: (entry: Told) => boolean, count = 1, timeoutMs = WAIT_MS): Promise<Told[]> {
    const find = (): Told[] => this.told.filter(matches);
    return this.#changes.until(() => atLeast(count, find()), {
      what: `${count} × ${what}`,
      limitMs: timeoutMs,
      seen: () => ({ matching: find().length, last: this.told.slice(-8) }),
    });
  }

  async #listen(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const entries = z
          .array(toldSchema)
          .parse(await (await this.#request(`/told?from=${this.told.length}`, { signal })).json());
        this.told.push(...entries);
        this.#changes.announce();
      } catch {
        await pause(200, signal);
      }
    }
  }

  async #request(path: string, init: RequestInit): Promise<Response> {
    const response = await fetch(`http://127.0.0.1:${this.#relay.port}${path}`, init);
    if (!response.ok) throw new Error(`the witness answered ${response.status} to ${path}`);
    return response;
  }
}
