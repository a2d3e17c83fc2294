import { Option } from "commander";
import { FAILURE_CLASSES, type FailureClass } from "../../../libs/contract/failure-class.ts";
import { JOB_STATES, type JobState } from "../../../libs/contract/record.ts";
import { LIST_LIMIT } from "../../../libs/contract/requests.ts";
import { ask } from "../../../libs/streams/request-client.ts";
import { command, EXIT, inSession, moment, type Output, outputOption, positive, print, printJson, progress } from "../command.ts";
import { jobsText } from "../lists.ts";
import type { Target } from "../session.ts";

interface Filters {
  readonly queue?: string;
  readonly state?: JobState;
  readonly class?: FailureClass;
  readonly since?: string;
  readonly limit: number;
}

export const ls = command("ls", "list jobs, the latest change first")
  .option("-q, --queue <name>", "only of this queue")
  .addOption(new Option("--state <state>", "only in this state").choices(JOB_STATES))
  .addOption(new Option("--class <class>", "only those whose last attempt failed like this").choices(FAILURE_CLASSES))
  .option("--since <time>", "only those that changed since then: a time, or how long ago (1h)", moment)
  .option("--limit <number>", `at most so many, up to ${LIST_LIMIT.max}`, positive, LIST_LIMIT.default)
  .addOption(outputOption())
  .action(async (options: Target & Filters & { readonly output: Output }) => {
    const { queue, state, since, limit } = options;
    await inSession(options, async ({ connection }) => {
      const { jobs, truncated } = await ask(connection, "list", { queue, state, class: options.class, since, limit });
      if (options.output === "json") printJson({ jobs, truncated });
      else print(jobsText(jobs, Date.now()));
      if (truncated && options.output === "text") progress("there are more: narrow the list, or raise --limit");
      return EXIT.ok;
    });
  });
