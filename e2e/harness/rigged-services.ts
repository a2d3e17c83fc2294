import { writeFileSync } from "node:fs";
import type { V1Deployment, V1Probe } from "@kubernetes/client-node";
import type { Installation } from "./installation.ts";
import type { ServiceProcess } from "./service-processes.ts";

const SERVICES = ["dispatcher", "monitor"] as const;
type RiggedService = (typeof SERVICES)[number];

const BLOCK_SIGNAL = "SIGUSR2";
const UNBLOCKED = "/tmp/unblocked";

/**
 * What is loaded before a service's own program: its clock is shifted by FAULT_CLOCK_MS, and SIGUSR2 holds its event loop until there is a file.
 * Sources of time that only measure (`performance.now`, timers) stay what they are, as on a machine whose clock is wrong.
 */
const PRELOAD = `
import { existsSync, rmSync } from "node:fs";
const shiftMs = Number(process.env.FAULT_CLOCK_MS);
const RealDate = Date;
const now = () => RealDate.now() + shiftMs;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, values, self) => Reflect.construct(target, values.length === 0 ? [now()] : values, self),
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === "now" ? now : Reflect.get(target, name)),
});
process.on("${BLOCK_SIGNAL}", () => {
  while (!existsSync("${UNBLOCKED}")) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  rmSync("${UNBLOCKED}");
});`;

/** Its event loop stands still until that is done. */
export async function blocked({ pid }: ServiceProcess, until: () => Promise<unknown>): Promise<void> {
  process.kill(pid, BLOCK_SIGNAL);
  try {
    await until();
  } finally {
    unlessGone(() => writeFileSync(`/proc/${pid}/root${UNBLOCKED}`, ""));
  }
}

/** It is stopped by SIGSTOP until that is done. */
export async function frozen({ pid }: ServiceProcess, until: () => Promise<unknown>): Promise<void> {
  process.kill(pid, "SIGSTOP");
  try {
    await until();
  } finally {
    unlessGone(() => process.kill(pid, "SIGCONT"));
  }
}

const GONE: ReadonlySet<string | undefined> = new Set(["ESRCH", "ENOENT"]);

/** Whoever asks whether the process came back says so better. */
function unlessGone(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!GONE.has((error as NodeJS.ErrnoException).code)) throw error;
  }
}

export interface Rig {
  readonly clockMs: number;
}

function rigVariables({ clockMs }: Rig): Readonly<Record<string, string>> {
  return {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PRELOAD)}`,
    FAULT_CLOCK_MS: String(clockMs),
  };
}

/**
 * Both services as an upgrade brings them, and at the end as they were found. A rigged one has no liveness probe: the kubelet would end a process
 * that is silent for 25 s, and start another, before the silent one could come back.
 */
export class RiggedServices implements AsyncDisposable {
  readonly #millrace: Installation;
  readonly #probes: Readonly<Record<RiggedService, V1Probe>>;

  private constructor(millrace: Installation, probes: Readonly<Record<RiggedService, V1Probe>>) {
    this.#millrace = millrace;
    this.#probes = probes;
  }

  static async open(millrace: Installation): Promise<RiggedServices> {
    const { namespace, release } = millrace.names;
    const probeOf = async (service: RiggedService): Promise<V1Probe> => {
      const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${release}-${service}`;
      const { spec } = await millrace.kube.json<V1Deployment>({ method: "GET", path });
      const probe = spec?.template.spec?.containers.find(({ name }) => name === service)?.livenessProbe;
      if (probe === undefined) throw new Error(`${service} has no liveness probe: a run that was cut off has left its rig there`);
      return probe;
    };
    const [dispatcher, monitor] = await Promise.all([probeOf("dispatcher"), probeOf("monitor")]);
    return new RiggedServices(millrace, { dispatcher, monitor });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.asFound();
  }

  /** Resolves when nothing of the former generation is left. */
  rig(rigs: Readonly<Record<RiggedService, Rig>>): Promise<void> {
    return this.#rollOut((name) => {
      const env = Object.entries(rigVariables(rigs[name])).map(([key, value]) => ({ name: key, value }));
      return { name, env, livenessProbe: null };
    });
  }

  /** The same, back again. */
  asFound(): Promise<void> {
    return this.#rollOut((name) => {
      const env = Object.keys(rigVariables({ clockMs: 0 })).map((key) => ({ name: key, $patch: "delete" }));
      return { name, env, livenessProbe: this.#probes[name] };
    });
  }

  async #rollOut(container: (name: RiggedService) => object): Promise<void> {
    const { release } = this.#millrace.names;
    for (const name of SERVICES) {
      const patch = { spec: { template: { spec: { containers: [container(name)] } } } };
      await this.#inRelease("patch", "deployment", `${release}-${name}`, "--type=strategic", "--patch", JSON.stringify(patch));
    }
    for (const name of SERVICES) {
      await this.#inRelease("rollout", "status", `deployment/${release}-${name}`, "--timeout=180s");
      await this.#formerGone(name);
    }
  }

  async #formerGone(name: RiggedService): Promise<void> {
    const selector = `app.kubernetes.io/component=${name},app.kubernetes.io/instance=${this.#millrace.names.release}`;
    const generations = await this.#inRelease(
      "get",
      "replicasets",
      "-l",
      selector,
      "-o",
      "jsonpath={range .items[?(@.spec.replicas==0)]}{.metadata.labels.pod-template-hash} {end}",
    );
    for (const former of generations.split(" ").filter((hash) => hash.trim() !== "")) {
      const pods = `${selector},pod-template-hash=${former}`;
      await this.#inRelease("wait", "pod", "-l", pods, "--for=delete", "--timeout=120s");
    }
  }

  #inRelease(...args: readonly string[]): Promise<string> {
    return this.#millrace.kubectl(["-n", this.#millrace.names.namespace, ...args]);
  }
}
