import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { QUEUE_PATTERN } from "../../libs/contract/names.ts";
import { ClusterError } from "../cluster/cluster-error.ts";

/** Images of these names are Millrace's own or the cluster's. */
const TAKEN_NAMES = ["busybox", "keda", "millrace", "nats", "pause", "versitygw"];
/** First tokens of subjects that no worker may have. */
const RESERVED_SUBJECTS = ["jobs", "retry", "events", "dlq", "work"];

/**
 * Writes a worker that runs as it is: its folder in `jobs`, and its entry in jobs/values.yaml. Refuses before it writes anything.
 * @returns the files, relative to `root`
 * @throws ClusterError `OPTION_INVALID`
 */
export function scaffoldJob(name: string, root: string): string[] {
  const refuse = (problem: string): ClusterError => new ClusterError("OPTION_INVALID", problem);
  if (!QUEUE_PATTERN.test(name)) {
    throw refuse(`"${name}" is no name for a worker: lower-case letters, digits and dashes, at most 40, such as send-invoice.`);
  }
  if ([...TAKEN_NAMES, ...RESERVED_SUBJECTS].includes(name))
    throw refuse(`"${name}" is a name of Millrace's own. Choose another one.`);
  const folder = join(root, "jobs", name);
  if (existsSync(folder)) throw refuse(`jobs/${name} exists already. Choose another name, or remove it first.`);
  const valuesFile = join(root, "jobs", "values.yaml");
  const values = parseDocument(readFileSync(valuesFile, "utf8"));
  if (values.errors.length > 0) throw refuse(`jobs/values.yaml cannot be parsed: ${values.errors[0]?.message ?? ""}`);
  if (values.hasIn(["workers", name])) throw refuse(`jobs/values.yaml has a worker ${name} already.`);
  const files = { "main.ts": mainText(name), [`${name}.ts`]: workerText(name), [`${name}.test.ts`]: testText(name) };
  mkdirSync(folder);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
  const key = values.createNode(name);
  key.spaceBefore = true;
  values.addIn(["workers"], values.createPair(key, valuesEntry(name)));
  writeFileSync(valuesFile, values.toString({ lineWidth: 130 }));
  return [...Object.keys(files).map((file) => join("jobs", name, file)), join("jobs", "values.yaml")];
}

const valuesEntry = (name: string) => ({
  subject: name,
  concurrency: 1,
  max: 10,
  timeout: "5m",
  retry: { attempts: 3, backoff: { initial: "10s", max: "1h" } },
  resources: { requests: { cpu: "20m", memory: "96Mi" }, limits: { memory: "256Mi" } },
});

const mainText = (name: string): string => `import { run } from "@millrace/worker";
import { worker } from "./${name}.ts";

await run(worker);
`;

const workerText = (name: string): string => `import { defineWorker } from "@millrace/worker";
import { z } from "zod";

/**
 * A handler that returns has done its message. What it throws is tried again after the backoff; \`NonRetryable\` goes to the DLQ at once, and
 * \`RetryLater\` comes again after so many milliseconds at no cost. It may run twice for one message: name what it writes after \`ctx.id\`, and pass
 * \`ctx.signal\` to all that takes long. How many run at once, how long and how often is in jobs/values.yaml.
 */
export const worker = defineWorker({
  queue: "${name}",
  schema: z.object({ name: z.string().min(1) }),
  async handler(ctx) {
    ctx.signal.throwIfAborted();
    ctx.log.info("${name}.handled", { characters: ctx.data.name.length });
  },
});
`;

const testText = (name: string): string => `import { runHandler } from "@millrace/worker/testing";
import { expect, it } from "vitest";
import { worker } from "./${name}.ts";

it("handles a message", async () => {
  expect(await runHandler(worker, { body: { name: "you" } })).toMatchObject({
    outcome: { kind: "succeeded" },
    logged: [{ event: "${name}.handled", fields: { characters: 3 } }],
  });
});

it("gives up at once on a message without a name", async () => {
  expect((await runHandler(worker, { body: { name: "" } })).outcome).toMatchObject({ kind: "dead" });
});
`;
