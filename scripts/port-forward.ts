// Keeps 127.0.0.1:4222 leading to the NATS of the local installation until it is interrupted, for `nats` and other clients.
// Exit codes: kubectl's own; 1 there is no cluster; 2 wrong usage.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { chooseTarget } from "./install/choose-target.ts";
import { readOptions } from "./install/options.ts";
import { localProfile } from "./install/profile.ts";

const usage = `Usage: node scripts/port-forward.ts [--port PORT]

  --port PORT  local port (default: 4222)
`;

const values = readOptions(usage, { port: { type: "string", default: "4222" } });
if (!/^\d+$/.test(values.port)) {
  process.stderr.write(usage);
  process.exit(2);
}

const { release, namespace, cluster } = localProfile;
const target = await chooseTarget({ cluster });
if (!(await target.exists())) {
  process.stderr.write(`There is no ${target.title}. First: make up\n`);
  process.exit(1);
}
const kubectl = spawn(
  join(target.binDir, "kubectl"),
  ["--context", target.context, "-n", namespace, "port-forward", `svc/${release}-nats`, `${values.port}:4222`],
  { stdio: "inherit", env: { ...process.env, KUBECONFIG: target.kubeconfig } },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => kubectl.kill(signal));
kubectl.on("exit", (code) => process.exit(code ?? 1));
