import type { AnswerOf, LogLine } from "../../libs/contract/requests.ts";

export type LogAnswer = AnswerOf<"logs">;

/**
 * Reads an attempt's log until the attempt has ended, by asking again and again for what is later than the last line. It stays with the attempt
 * that it began with, and waits for the first one if there is none yet.
 */
export async function followLog(options: {
  readonly ask: (more: { readonly attempt?: number; readonly since?: string }) => Promise<LogAnswer>;
  readonly onLines: (lines: readonly LogLine[]) => void;
  readonly onNote: (note: string) => void;
  /** Between two questions. */
  readonly pause: () => Promise<void>;
  readonly signal: AbortSignal;
}): Promise<void> {
  let attempt: number | undefined;
  let since: string | undefined;
  let note: string | undefined;
  while (!options.signal.aborted) {
    const answer = await options.ask({
      ...(attempt === undefined ? {} : { attempt }),
      ...(since === undefined ? {} : { since }),
    });
    // Waiting is said once, not every second; and where lines were shown, that the pod has gone is no news.
    if (answer.note !== undefined && answer.note !== note && since === undefined) options.onNote(answer.note);
    note = answer.note;
    if (answer.lines.length > 0) options.onLines(answer.lines);
    since = answer.lines.findLast(({ at }) => at !== undefined)?.at ?? since;
    if (answer.attempt > 0) attempt ??= answer.attempt;
    if (!answer.live) return;
    await options.pause();
  }
}
