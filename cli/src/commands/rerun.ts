import { ask } from "../../../libs/streams/request-client.ts";
import { command, EXIT, inSession, type Output, outputOption, print, printJson, queueOption, whoAsks } from "../command.ts";
import type { Target } from "../session.ts";

export const rerun = command("rerun", "run a job that has ended once more, with the message that it was published with")
  .argument("<id>", "the job's id")
  .addOption(queueOption())
  .addOption(outputOption())
  .action(async (id: string, options: Target & { queue?: string; output: Output }) => {
    await inSession(options, async ({ connection }) => {
      const { record } = await ask(connection, "rerun", { id, queue: options.queue, by: whoAsks() });
      if (options.output === "json") printJson(record);
      else print(`${id}  scheduled as attempt ${record.next?.attempt ?? record.attempt}`);
      return EXIT.ok;
    });
  });
