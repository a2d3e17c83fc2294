// Keeps 127.0.0.1:4222 leading to the NATS of the local installation until it is interrupted, for `nats` and other clients.
// Exit codes: kubectl's own; 2 wrong usage.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LocalCluster } from "./cluster/cluster.ts";
import { localProfile } from "./install/profile.ts";

const usage = `Usage: node scripts/port-forward.ts [--port PORT]

  --port PORT  local port (default: 4222)
`;

const { values } = parseArgs({
  options: { port: { type: "string", default: "4222" }, help: { type: "boolean", short: "h", default: false } },
});
if (values.help || !/^\d+$/.test(values.port)) {
  process.stdout.write(usage);
  process.exit(values.help ? 0 : 2);
}

const { release, namespace, cluster: name } = localProfile;
const cluster = new LocalCluster({ name, progress: () => {} });
if (!cluster.exists()) {
  process.stderr.write(`There is no local cluster ${name}. First: make up\n`);
  process.exit(1);
}
const kubectl = spawn(
  join(cluster.binDir, "kubectl"),
  ["--kubeconfig", cluster.kubeconfig, "-n", namespace, "port-forward", `svc/${release}-nats`, `${values.port}:4222`],
  { stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => kubectl.kill(signal));
kubectl.on("exit", (code) => process.exit(code ?? 1));
