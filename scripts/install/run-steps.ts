import { Listr, type ListrDefaultRendererLogLevels, ListrLogger, PRESET_TIMER, ProcessOutput } from "listr2";
import type { Progress } from "./target.ts";

/** What is shown and done of a step; `steps.ts` has those of the installation. */
interface RunnableStep {
  readonly title: string;
  run(progress: Progress): Promise<void>;
}

/** Listr shows a failed task's message in its own way; the whole of it is told once, by the caller, at the end. */
const SHOWN_FAILURE = "see below";

/** Runs steps in order and shows them on stderr with their times: live on a terminal, a line each in CI and pipes (and with `NO_COLOR`). */
export async function runSteps(steps: readonly RunnableStep[]): Promise<void> {
  const stderrOnly = { processOutput: new ProcessOutput(process.stderr, process.stderr) };
  const plain = !process.stderr.isTTY || process.env["CI"] !== undefined || process.env["NO_COLOR"] !== undefined;
  let failure: { readonly error: unknown } | undefined;
  const tasks = new Listr(
    steps.map((step) => ({
      title: step.title,
      task: async (_context, task) => {
        const progress = (line: string): void => {
          task.output = line;
        };
        await step.run(progress).catch((error: unknown) => {
          failure = { error };
          throw new Error(SHOWN_FAILURE);
        });
      },
    })),
    {
      renderer: "default",
      rendererOptions: {
        timer: PRESET_TIMER,
        logger: new ListrLogger<ListrDefaultRendererLogLevels>(stderrOnly),
        collapseErrors: false,
      },
      fallbackRenderer: "simple",
      fallbackRendererCondition: plain,
      fallbackRendererOptions: { timer: PRESET_TIMER, logger: new ListrLogger(stderrOnly) },
    },
  );
  await tasks.run().catch((error: unknown) => {
    throw failure === undefined ? error : failure.error;
  });
}
