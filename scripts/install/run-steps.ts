import { Listr, type ListrDefaultRendererLogLevels, ListrLogger, PRESET_TIMER, ProcessOutput } from "listr2";
import type { Step } from "./steps.ts";

/** Runs steps in order and shows them on stderr with their times: live on a terminal, a line each in CI and pipes (and with `NO_COLOR`). */
export async function runSteps(steps: readonly Step[]): Promise<void> {
  const stderrOnly = { processOutput: new ProcessOutput(process.stderr, process.stderr) };
  const plain = !process.stderr.isTTY || process.env["CI"] !== undefined || process.env["NO_COLOR"] !== undefined;
  const tasks = new Listr(
    steps.map((step) => ({
      title: step.title,
      task: (_context, task) =>
        step.run((line) => {
          task.output = line;
        }),
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
  await tasks.run();
}
