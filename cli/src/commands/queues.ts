import { Command } from "commander";
import { pauseText } from "../../../libs/contract/explain.ts";
import { ask } from "../../../libs/streams/request-client.ts";
import {
  command,
  duration,
  EXIT,
  exitWithUsage,
  inSession,
  type Output,
  outputOption,
  print,
  printJson,
  whoAsks,
} from "../command.ts";
import { queuesText } from "../lists.ts";
import type { Target } from "../session.ts";

type QueuesOptions = Target & { readonly output: Output };

/** Where the installation is and how the answer looks are options of `queues`, wherever they stand on the line. */
function part(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument("<queue>", "the queue")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride(exitWithUsage);
}

/** P4: the broker's own pause of the queue's consumers. */
const pause = part("pause", "hand out nothing of a queue; what runs goes on")
  .option("--for <duration>", "for so long (default: until it is resumed)", duration)
  .option("--reason <text>", "why, for everybody who wonders")
  .action(async (queue: string, _own: unknown, self: Command) => {
    const options: QueuesOptions & { for?: number; reason?: string } = self.optsWithGlobals();
    await inSession(options, async ({ connection }) => {
      const request = { queue, forMs: options.for, reason: options.reason, by: whoAsks() };
      const { paused } = await ask(connection, "pause", request);
      if (options.output === "json") printJson({ queue, paused });
      else print(`${queue}  paused ${pauseText(paused)}`);
      return EXIT.ok;
    });
  });

const resume = part("resume", "hand out messages of a paused queue again").action(
  async (queue: string, _own: unknown, self: Command) => {
    const options: QueuesOptions = self.optsWithGlobals();
    await inSession(options, async ({ connection }) => {
      const { wasPaused } = await ask(connection, "resume", { queue, by: whoAsks() });
      if (options.output === "json") printJson({ queue, wasPaused });
      else print(`${queue}  ${wasPaused ? "resumed" : "was not paused"}`);
      return EXIT.ok;
    });
  },
);

export const queues = command("queues", "list the queues; pause and resume them")
  .addOption(outputOption())
  .action(async (options: QueuesOptions) => {
    await inSession(options, async ({ connection }) => {
      const answer = await ask(connection, "queues", {});
      if (options.output === "json") printJson(answer.queues);
      else print(queuesText(answer.queues));
      return EXIT.ok;
    });
  })
  .addCommand(pause)
  .addCommand(resume);
