// Builds and pushes the workers' images that a registry has not. Needs skopeo, buildah or a Docker engine.
// stdout = data: a reference per worker to pull by. stderr = progress. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { relative } from "node:path";
import { failureText } from "../install/failure.ts";
import { readOptions } from "../install/options.ts";
import { pushImage, registryHas } from "../install/registry.ts";
import { pushAll } from "./all-images.ts";
import { imageValuesFile, writeImages } from "./image-values.ts";
import { checkout, jobNames } from "./job-folders.ts";
import { buildJobImage, jobTag } from "./job-image.ts";

const usage = `Usage: node scripts/jobs/push-all.ts --registry PLACE      (make push-all REGISTRY=PLACE)

  --registry PLACE  host[:port]/path; the images become PLACE/JOB:TAG
`;

const values = readOptions(usage, { registry: { type: "string", default: "" } });
if (values.registry === "") {
  process.stderr.write(usage);
  process.exit(2);
}

try {
  const images = await pushAll({
    jobs: jobNames(),
    place: values.registry,
    tagOf: jobTag,
    build: buildJobImage,
    registry: { has: registryHas, push: pushImage },
    progress: (line) => void process.stderr.write(`${line}\n`),
  });
  for (const reference of Object.values(images)) process.stdout.write(`${reference}\n`);
  writeImages(images);
  process.stderr.write(
    `Install them with: helm upgrade RELEASE charts/millrace --reset-then-reuse-values -f jobs/values.yaml -f ${relative(checkout, imageValuesFile())}\n`,
  );
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
