import { join } from "node:path";
import { z } from "zod";
import { command } from "../cluster/command.ts";
import type { Profile } from "./profile.ts";
import { kubectl, type Target } from "./target.ts";

const cli = join(import.meta.dirname, "../../cli/bin/millrace.js");
const record = z.object({ state: z.string(), job: z.object({ namespace: z.string(), name: z.string() }) });

export interface HelloResult {
  readonly outcome: string;
  readonly log: string;
}

/** Publishes the quick start's message with the `millrace` command, as a user would, and fetches the log of the Job that it became. */
export async function runHelloJob(target: Target, profile: Profile): Promise<HelloResult> {
  const millrace = (args: readonly string[]): Promise<string> =>
    command(
      process.execPath,
      [cli, ...args, "--context", target.context, "--namespace", profile.namespace, "--release", profile.release],
      {
        env: { KUBECONFIG: target.kubeconfig },
      },
    );
  const body = JSON.stringify({ template: "hello", params: { name: "world" } });
  const outcome = (await millrace(["pub", "jobs.default.hello", body, "--wait", "--timeout", "3m"])).trim();
  const id = outcome.split(" ")[0] ?? "";
  const { job } = record.parse(JSON.parse(await millrace(["get", id, "--output", "json"])));
  const log = await kubectl(target, ["-n", job.namespace, "logs", `job/${job.name}`]);
  return { outcome, log: log.trim() };
}
