import { errorText, MillraceError } from "../libs/contract/errors.ts";
import { exitOnSignal } from "../libs/runtime/lifecycle.ts";
import { runDispatcher } from "./dispatcher/main.ts";
import { runMonitor } from "./monitor/main.ts";

/** The one image's entry point: its argument names the service. */
const SERVICES: Readonly<Record<string, (env: NodeJS.ProcessEnv) => Promise<void>>> = {
  dispatcher: runDispatcher,
  monitor: runMonitor,
  // Loaded when it is asked for: the others have no use for gRPC.
  scaler: async (env) => (await import("./scaler/main.ts")).runScaler(env),
  cli: runCommand,
};

/** The `millrace` command, bundled beside this file: `helm test` publishes with it. It takes the arguments after `cli`. */
async function runCommand(): Promise<void> {
  process.argv.splice(2, 1);
  await import(new URL("./cli.js", import.meta.url).href);
}

const name = process.argv[2] ?? "";
const run = Object.hasOwn(SERVICES, name) ? SERVICES[name] : undefined;
try {
  exitOnSignal();
  if (run === undefined) throw new MillraceError("USAGE", `name one of the services: ${Object.keys(SERVICES).join(", ")}`);
  await run(process.env);
  process.exit();
} catch (error) {
  process.stderr.write(
    `${JSON.stringify({ level: "error", service: name, event: "process.failed", problem: errorText(error) })}\n`,
  );
  process.exit(1);
}
