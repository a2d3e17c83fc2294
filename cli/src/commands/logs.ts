import type { LogLine } from "../../../libs/contract/requests.ts";
import { pause } from "../../../libs/runtime/backoff.ts";
import { ask } from "../../../libs/streams/request-client.ts";
import { command, EXIT, inSession, positive, print, progress, queueOption } from "../command.ts";
import { followLog } from "../log-follower.ts";
import type { Target } from "../session.ts";

const ASK_EVERY_MS = 1_000;

export const logs = command("logs", "the log of a job's attempt: of its pod, or what was kept when it failed")
  .argument("<id>", "the job's id")
  .addOption(queueOption())
  .option("--attempt <number>", "which attempt (default: the latest)", positive)
  .option("-f, --follow", "go on until the attempt has ended", false)
  .option("--timestamps", "each line with its time, where it is known", false)
  .action(async (id: string, options: Target & { queue?: string; attempt?: number; follow: boolean; timestamps: boolean }) => {
    const { queue, attempt, timestamps } = options;
    const show = (lines: readonly LogLine[]): void => {
      for (const { at, text } of lines) print(timestamps && at !== undefined ? `${at} ${text}` : text);
    };
    await inSession(options, async ({ connection }) => {
      if (!options.follow) {
        const { lines, note } = await ask(connection, "logs", { id, queue, attempt });
        if (note !== undefined) progress(note);
        show(lines);
        return EXIT.ok;
      }
      const { signal } = new AbortController();
      await followLog({
        ask: (more) => ask(connection, "logs", { id, queue, attempt, ...more }),
        onLines: show,
        onNote: progress,
        pause: () => pause(ASK_EVERY_MS, signal),
        signal,
      });
      return EXIT.ok;
    });
  });
