import { buffer } from "node:stream/consumers";
import { command, duration, EXIT, inSession, print, progress } from "../command.ts";
import { eventText } from "../get.ts";
import { prepare, publishAndWait } from "../pub.ts";
import { instanceOf, type Target } from "../session.ts";
import { printable } from "../table.ts";
import { isWorkSubject, publishWork } from "../work-message.ts";

const WORKER_LOG = "kubectl logs -l millrace.dev/worker=NAME -f";

export const pub = command("pub", "publish a message; prints its id")
  .argument("<subject>", "jobs.<queue>.<type>, or the subject of a worker")
  .argument("<body>", "the JSON body, or - for standard input")
  .option("--id <id>", "id of a body that names none (default: a random one)")
  .option("--wait", "wait for the outcome of a job; exit 0 only when it succeeded", false)
  .option("--timeout <duration>", "how long to wait", duration, duration("10m"))
  .action(async (subject: string, text: string, options: Target & { id?: string; wait: boolean; timeout: number }) => {
    const body = new Uint8Array(text === "-" ? await buffer(process.stdin) : Buffer.from(text));
    const isWork = isWorkSubject(subject);
    if (isWork && options.wait) {
      progress(`WAIT_UNKNOWN: --wait is for jobs: what a worker is done with leaves no outcome. See its log: ${WORKER_LOG}`);
      process.exitCode = EXIT.usage;
      return;
    }
    await inSession(options, async ({ connection }) => {
      if (isWork) {
        print(await publishWork({ connection, subject, body, id: options.id, env: process.env }));
        return EXIT.ok;
      }
      const instance = await instanceOf(connection);
      const published = prepare({ connection, instance, subject, body, id: options.id, env: process.env });
      if (!options.wait) {
        await published.publish();
        print(published.id);
        return EXIT.ok;
      }
      const outcome = await publishAndWait(published, {
        connection,
        timeoutMs: options.timeout,
        onEvent: (event) => progress(eventText(event)),
      });
      print(printable([published.id, outcome.state, outcome.detail].filter((part) => part !== "").join("  ")));
      return outcome.state === "succeeded" ? EXIT.ok : EXIT.failed;
    });
  });
