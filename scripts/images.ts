// Builds the images as docker-archives: Millrace's own, and those that a local cluster takes by import.
// stdout = data, a line per image: reference, tab, path. stderr = progress. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { ensureBinaries } from "./cluster/binaries.ts";
import { buildBusyboxImage, buildNatsImage, buildPauseImage } from "./cluster/images.ts";
import { failureText } from "./install/failure.ts";
import { readOptions } from "./install/options.ts";
import { buildProductImage } from "./install/product-image.ts";

readOptions(
  "Usage: node scripts/images.ts\n\nBuilds the images and prints, for each, its reference and the path of its archive.\n",
  {},
);

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
