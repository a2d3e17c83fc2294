import { existsSync, writeFileSync } from "node:fs";
import type { Installation } from "./installation.ts";
import type { ServiceProcess } from "./service-processes.ts";

type Variables = Readonly<Record<string, string>>;

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

/** Its event loop stands still until that is done. The kubelet ends a service that is silent for 25 s or more. */
export async function blocked({ pid }: ServiceProcess, until: () => Promise<unknown>): Promise<void> {
  process.kill(pid, BLOCK_SIGNAL);
  try {
    await until();
  } finally {
    const root = `/proc/${pid}/root`;
    if (existsSync(root)) writeFileSync(`${root}${UNBLOCKED}`, "");
  }
}

export interface Rig {
  readonly clockMs: number;
}

/** The variables that make a service rigged. */
export function rigVariables({ clockMs }: Rig): Variables {
  return {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PRELOAD)}`,
    FAULT_CLOCK_MS: String(clockMs),
  };
}

/** Another generation of both services, as an upgrade brings it; resolves when nothing of the former is left. */
export async function rollOut(
  millrace: Installation,
  variables: { readonly dispatcher: Variables; readonly monitor: Variables } | "as-installed",
): Promise<void> {
  const { namespace, release } = millrace.names;
  const inRelease = (...args: readonly string[]): Promise<string> => millrace.kubectl(["-n", namespace, ...args]);
  const names = ["dispatcher", "monitor"] as const;
  for (const name of names) {
    const settings =
      variables === "as-installed"
        ? Object.keys(rigVariables({ clockMs: 0 })).map((key) => `${key}-`)
        : Object.entries(variables[name]).map(([key, value]) => `${key}=${value}`);
    await inRelease("set", "env", `deployment/${release}-${name}`, ...settings);
  }
  for (const name of names) {
    await inRelease("rollout", "status", `deployment/${release}-${name}`, "--timeout=180s");
    const selector = `app.kubernetes.io/component=${name},app.kubernetes.io/instance=${release}`;
    const generations = await inRelease(
      "get",
      "replicasets",
      "-l",
      selector,
      "-o",
      "jsonpath={range .items[?(@.spec.replicas==0)]}{.metadata.labels.pod-template-hash} {end}",
    );
    for (const former of generations
      .trim()
      .split(" ")
      .filter((hash) => hash !== "")) {
      await inRelease("wait", "pod", "-l", `${selector},pod-template-hash=${former}`, "--for=delete", "--timeout=120s");
    }
  }
}
