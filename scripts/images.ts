// Builds the images as docker-archives: Millrace's own, and those that a local cluster takes by import.
// stdout = data, a line per image: reference, tab, path. stderr = progress. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { parseArgs } from "node:util";
import { ensureBinaries } from "./cluster/binaries.ts";
import { buildBusyboxImage, buildNatsImage, buildPauseImage } from "./cluster/images.ts";
import { failureText } from "./install/failure.ts";
import { buildProductImage } from "./install/product-image.ts";

const { values } = parseArgs({ options: { help: { type: "boolean", short: "h", default: false } } });
if (values.help) {
  process.stdout.write(
    "Usage: node scripts/images.ts\n\nBuilds the images and prints, for each, its reference and the path of its archive.\n",
  );
  process.exit(0);
}

try {
  const { "nats-server": natsServer } = await ensureBinaries(["nats-server"], (line) => void process.stderr.write(`${line}\n`));
  const builders = [buildProductImage, () => buildNatsImage(natsServer), buildBusyboxImage, buildPauseImage];
  for (const build of builders) {
    const { archivePath, reference } = await build();
    process.stdout.write(`${reference}\t${archivePath}\n`);
  }
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
