import { ask } from "../../../libs/streams/request-client.ts";
import { command, EXIT, inSession, type Output, outputOption, print, printJson, queueOption, whoAsks } from "../command.ts";
import type { Target } from "../session.ts";

const SAID = {
  cancelled: "cancelled",
  cancelling: "cancelling: its attempt is being stopped; millrace get shows when it is over",
  already: "cancelled before",
} as const;

export const cancel = command("cancel", "cancel a job: one that waits never starts, one that runs is stopped")
  .argument("<id>", "the job's id")
  .addOption(queueOption())
  .addOption(outputOption())
  .action(async (id: string, options: Target & { queue?: string; output: Output }) => {
    await inSession(options, async ({ connection }) => {
      const { kind, record } = await ask(connection, "cancel", { id, queue: options.queue, by: whoAsks() });
      if (options.output === "json") printJson({ kind, record });
      else print(`${id}  ${SAID[kind]}`);
      return EXIT.ok;
    });
  });
