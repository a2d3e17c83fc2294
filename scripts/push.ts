// Pushes Millrace's image to a registry, so that a cluster that is not this machine's can pull it. Needs skopeo, buildah or a Docker engine.
// stdout = data: the reference to pull by. stderr = progress. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { failureText } from "./install/failure.ts";
import { readOptions } from "./install/options.ts";
import { buildProductImage } from "./install/product-image.ts";
import { pushImage } from "./install/registry.ts";

const usage = `Usage: node scripts/push.ts --registry PLACE      (make push REGISTRY=PLACE)

  --registry PLACE  host[:port]/path; the image becomes PLACE/millrace:TAG
`;

const values = readOptions(usage, { registry: { type: "string", default: "" } });
if (values.registry === "") {
  process.stderr.write(usage);
  process.exit(2);
}

try {
  const image = await buildProductImage();
  process.stderr.write(`pushing ${image.reference}\n`);
  process.stdout.write(`${await pushImage(image, { place: values.registry, tag: image.tag })}\n`);
  process.stderr.write(`Install it with: make up ARGS="--context NAME --registry ${values.registry}"\n`);
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
