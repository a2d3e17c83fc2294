import { execFile } from "node:child_process";
import { join } from "node:path";
import type { Installation } from "./installation.ts";

const program = join(import.meta.dirname, "../../cli/bin/millrace.js");

/** How a command ended. It never throws: that it fails may be what is asked. */
export interface Printed {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The `millrace` command, run as a person runs it. It takes the harness's way to NATS, which spares each call a port-forward of its own. */
export class MillraceCommand {
  readonly #url: string;

  constructor(millrace: Installation) {
    this.#url = `nats://${millrace.connection.getServer()}`;
  }

  run(...args: string[]): Promise<Printed> {
    return runProgram(args, { NATS_URL: this.#url });
  }

  /** For what must be done: fails with everything that was printed. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code !== 0) throw new Error(`millrace ${args.join(" ")} ended with ${code}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ok(...args, "-o", "json"));
  }
}

/** `env` beside the environment of the tests, of which `NATS_URL` is no part. */
export function runProgram(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Printed> {
  const { NATS_URL: _url, ...own } = process.env;
  const { promise, resolve } = Promise.withResolvers<Printed>();
  execFile(process.execPath, [program, ...args], { env: { ...own, ...env } }, (error, stdout, stderr) => {
    resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
  });
  return promise;
}
