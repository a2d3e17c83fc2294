import { z } from "zod";

/**
 * What a worker's process that kills itself leaves where Kubernetes tells the end of its container, as the termination message: whether the broker
 * can be reached then or not, nobody takes its end for one that was done to it.
 */
export interface LastWords {
  /** Keys of the claims whose handlers outlived their time. What else the process held is nobody's fault. */
  readonly overran: readonly string[];
}

const MARK = "worker.killed-itself ";
/** The kubelet takes no more. */
const LONGEST_CHARS = 4_096;

const lastWords = z.object({ overran: z.array(z.string()) });

/** For people, too: `kubectl describe` shows it. Keys that do not fit are left out. */
export function lastWordsText(overran: readonly string[]): string {
  const said: string[] = [];
  for (const key of overran) if (textOf([...said, key]).length <= LONGEST_CHARS) said.push(key);
  return textOf(said);
}

/** Undefined: whoever wrote that, it is none. */
export function parseLastWords(message: string | undefined): LastWords | undefined {
  if (message?.startsWith(MARK) !== true) return undefined;
  try {
    return lastWords.safeParse(JSON.parse(message.slice(MARK.length))).data;
  } catch {
    return undefined;
  }
}

const textOf = (overran: readonly string[]): string => `${MARK}${JSON.stringify({ overran } satisfies LastWords)}`;
