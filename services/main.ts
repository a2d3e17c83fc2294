import { errorText } from "../libs/contract/errors.ts";
import { runDispatcher } from "./dispatcher/main.ts";
import { runMonitor } from "./monitor/main.ts";

/** The one image's entry point: its argument names the service. */
const SERVICES: Readonly<Record<string, (env: NodeJS.ProcessEnv) => Promise<void>>> = {
  dispatcher: runDispatcher,
  monitor: runMonitor,
};

const name = process.argv[2] ?? "";
const run = SERVICES[name];
try {
  if (run === undefined) throw new Error(`usage: millrace <service>; services: ${Object.keys(SERVICES).join(", ")}`);
  await run(process.env);
  process.exit(process.exitCode ?? 0);
} catch (error) {
  process.stderr.write(
    `${JSON.stringify({ level: "error", service: name, event: "process.failed", problem: errorText(error) })}\n`,
  );
  process.exit(1);
}
