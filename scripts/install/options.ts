import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import { errorText } from "../../libs/contract/errors.ts";

/** A script's options. `--help` prints the usage to stdout and ends with 0, wrong usage prints it to stderr and ends with 2. */
export function readOptions<const Options extends ParseArgsOptionsConfig>(usage: string, options: Options) {
  try {
    const { values } = parseArgs<{ options: Options & { help: { type: "boolean"; short: "h" } } }>({
      options: { ...options, help: { type: "boolean", short: "h" } },
    });
    if (!process.argv.slice(2).some((argument) => argument === "-h" || argument === "--help")) return values;
    process.stdout.write(usage);
    return process.exit(0);
  } catch (error) {
    process.stderr.write(`${errorText(error)}\n\n${usage}`);
    return process.exit(2);
  }
}
