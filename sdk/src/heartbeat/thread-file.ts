import { existsSync } from "node:fs";
import { extname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MillraceError } from "../../../libs/contract/errors.ts";

/** Where the program of the second thread is, for those whose bundler puts it elsewhere: a path. */
export const THREAD_FILE_VARIABLE = "MILLRACE_HEARTBEAT_THREAD";

/**
 * The program of the second thread: `heartbeat-thread`, beside the file that this code is in; `.ts` in the sources, `.js` in the package and in
 * bundles.
 * @throws MillraceError `HEARTBEAT_THREAD_MISSING`
 */
export function threadFile(env: NodeJS.ProcessEnv, besideUrl: string = import.meta.url): URL {
  const given = env[THREAD_FILE_VARIABLE] ?? "";
  const file = given === "" ? new URL(`./heartbeat-thread${extname(besideUrl)}`, besideUrl) : pathToFileURL(given);
  if (existsSync(file)) return file;
  throw new MillraceError(
    "HEARTBEAT_THREAD_MISSING",
    `${fileURLToPath(file)} is not there: a bundle of a worker needs it beside itself. Bundle "@millrace/worker/heartbeat-thread" as a second entry point of that name, or say in ${THREAD_FILE_VARIABLE} where it is`,
  );
}
