import { ask } from "../../../libs/streams/request-client.ts";
import { command, EXIT, inSession, type Output, outputOption, print, printJson, queueOption } from "../command.ts";
import { reportJson, reportText } from "../get.ts";
import type { Target } from "../session.ts";

export const get = command("get", "show what is known of a job, why it waits, and what to do")
  .argument("<id>", "the job's id")
  .addOption(queueOption())
  .addOption(outputOption())
  .action(async (id: string, options: Target & { queue?: string; output: Output }) => {
    await inSession(options, async ({ connection }) => {
      const report = await ask(connection, "get", { id, queue: options.queue });
      if (options.output === "json") printJson(reportJson(report));
      else print(reportText(report));
      return EXIT.ok;
    });
  });
