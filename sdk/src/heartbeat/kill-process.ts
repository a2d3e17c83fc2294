import { setFlagsFromString } from "node:v8";
import { Script } from "node:vm";

/**
 * Ends this process from any of its threads, whatever the others do, in the middle of what they do.
 *
 * Linux delivers no SIGKILL to the first process of a container that comes from within, and a worker most often is that process; there a trap does
 * it, which is a fault of the process itself and spares nobody. (`process.abort` and `process.exit` do not end the process from a thread.)
 */
export function killProcess(): void {
  process.kill(process.pid, "SIGKILL");
  setFlagsFromString("--allow-natives-syntax");
  new Script("%SystemBreak()").runInThisContext();
}
