import { Command } from "commander";
import { exitWithUsage } from "./command.ts";
import { cancel } from "./commands/cancel.ts";
import { get } from "./commands/get.ts";
import { logs } from "./commands/logs.ts";
import { ls } from "./commands/ls.ts";
import { pub } from "./commands/pub.ts";
import { queues } from "./commands/queues.ts";
import { rerun } from "./commands/rerun.ts";

const program = new Command("millrace")
  .description("Publish jobs, follow them to their outcome, and see why they wait.")
  .exitOverride(exitWithUsage);
for (const command of [pub, get, ls, logs, cancel, rerun, queues]) program.addCommand(command);
await program.parseAsync();
