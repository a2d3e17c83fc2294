import { buffer } from "node:stream/consumers";
import { command, duration, EXIT, inSession, print, progress } from "../command.ts";
import { eventText } from "../get.ts";
import { prepare, publishAndWait } from "../pub.ts";
import { instanceOf, type Target } from "../session.ts";
import { printable } from "../table.ts";

export const pub = command("pub", "publish a message; prints its id")
  .argument("<subject>", "jobs.<queue>.<type>")
  .argument("<body>", "the JSON body, or - for standard input")
  .option("--id <id>", "id of a body that names none (default: a random one)")
  .option("--wait", "wait for the outcome; exit 0 only when the job succeeded", false)
  .option("--timeout <duration>", "how long to wait", duration, duration("10m"))
  .action(async (subject: string, text: string, options: Target & { id?: string; wait: boolean; timeout: number }) => {
    const body = new Uint8Array(text === "-" ? await buffer(process.stdin) : Buffer.from(text));
    await inSession(options, async ({ connection }) => {
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
