import { buffer } from "node:stream/consumers";
import { Command, InvalidArgumentError, Option } from "commander";
import { errorText, isMillraceError } from "../../libs/contract/errors.ts";
import { parseDurationMs } from "../../libs/contract/units.ts";
import { eventText, getJob, reportText } from "./get.ts";
import { prepare, publishAndWait } from "./pub.ts";
import { openSession, type Session, type Target } from "./session.ts";

/** 0 = done (with --wait: succeeded) · 1 = the job did not succeed, or is unknown · 2 = wrong usage · 3 = Millrace cannot be reached */
const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3 } as const;
const UNREACHABLE = new Set([
  "NATS_UNREACHABLE",
  "NATS_NOT_READY",
  "KUBE_UNREACHABLE",
  "CONTEXT_UNKNOWN",
  "NOT_INSTALLED",
  "NATS_TOO_OLD",
]);

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const progress = (line: string): void => void process.stderr.write(`${line}\n`);

function duration(text: string): number {
  const ms = parseDurationMs(text);
  if (ms <= 0) throw new InvalidArgumentError("give a duration such as 30s or 10m");
  return ms;
}

function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addOption(new Option("--server <url>", "address of NATS; without it, a port-forward through Kubernetes").env("NATS_URL"))
    .addOption(new Option("--kubeconfig <file>", "kubeconfig (default: as kubectl finds it)"))
    .addOption(new Option("--context <name>", "kube context (default: the current one)").env("MILLRACE_CONTEXT"))
    .addOption(new Option("-n, --namespace <name>", "namespace of the release").env("MILLRACE_NAMESPACE").default("millrace"))
    .addOption(new Option("--release <name>", "name of the Helm release").env("MILLRACE_RELEASE").default("millrace"))
    .exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage));
}

async function inSession(target: Target, work: (session: Session) => Promise<number>): Promise<void> {
  try {
    await using session = await openSession(target);
    process.exitCode = await work(session);
  } catch (error) {
    const code = isMillraceError(error) ? error.code : "FAILED";
    progress(`${code}: ${errorText(error)}`);
    process.exitCode = UNREACHABLE.has(code) ? EXIT.unreachable : EXIT.failed;
  }
}

const pub = command("pub", "publish a message; prints its id")
  .argument("<subject>", "jobs.<queue>.<type>")
  .argument("<body>", "the JSON body, or - for standard input")
  .option("--id <id>", "id of a body that names none (default: a random one)")
  .option("--wait", "wait for the outcome; exit 0 only when the job succeeded", false)
  .option("--timeout <duration>", "how long to wait", duration, duration("10m"))
  .action(async (subject: string, text: string, options: Target & { id?: string; wait: boolean; timeout: number }) => {
    const body = new Uint8Array(text === "-" ? await buffer(process.stdin) : Buffer.from(text));
    await inSession(options, async (session) => {
      const published = prepare({ session, subject, body, id: options.id });
      if (!options.wait) {
        await published.publish();
        print(published.id);
        return EXIT.ok;
      }
      const onEvent = (event: Parameters<typeof eventText>[0]): void => progress(eventText(event));
      const outcome = await publishAndWait(published, { session, timeoutMs: options.timeout, onEvent });
      print([published.id, outcome.state, outcome.detail].filter((part) => part !== "").join("  "));
      return outcome.state === "succeeded" ? EXIT.ok : EXIT.failed;
    });
  });

const get = command("get", "show what is known of a job")
  .argument("<id>", "the job's id")
  .option("-q, --queue <name>", "the queue, when the id is on several")
  .addOption(new Option("-o, --output <format>", "json = the record").choices(["text", "json"]).default("text"))
  .action(async (id: string, options: Target & { queue?: string; output: "text" | "json" }) => {
    await inSession(options, async (session) => {
      const report = await getJob(session, id, options.queue);
      print(options.output === "json" ? JSON.stringify(report.record, null, 2) : reportText(report));
      return EXIT.ok;
    });
  });

const program = new Command("millrace")
  .description("Publish jobs and follow them to their outcome.")
  .exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT.ok : EXIT.usage))
  .addCommand(pub)
  .addCommand(get);
await program.parseAsync();
