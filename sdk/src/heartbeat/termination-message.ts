import { writeFileSync } from "node:fs";
import { lastWordsText } from "../../../libs/contract/last-words.ts";

/** Made by the kubelet, for each start of a container; it tells what stands there with the container's end. */
const TERMINATION_LOG = "/dev/termination-log";

/** Written at once, by a process that is about to end. The file is never made here: outside Kubernetes nobody reads it. */
export function leaveLastWords(overran: readonly string[], path = TERMINATION_LOG): void {
  try {
    writeFileSync(path, lastWordsText(overran), { flag: "r+" });
  } catch {
    // Not knowing why it ended must not keep it alive.
  }
}
