// Writes the Secret of the image jobs from jobs/.env. Values go to kubectl over stdin and are never printed.
// stderr = progress. Exit codes: 0 done, 1 failed, 2 wrong usage.
import { join, relative } from "node:path";
import { chooseTarget } from "../install/choose-target.ts";
import { failureText } from "../install/failure.ts";
import { IMAGE_SECRET } from "../install/image-pipeline.ts";
import { readOptions } from "../install/options.ts";
import { localProfile } from "../install/profile.ts";
import { kubectl } from "../install/target.ts";
import { imageSecret, readImageSecret } from "./image-secret.ts";
import { checkout } from "./job-folders.ts";

const usage = `Usage: node scripts/jobs/secrets.ts [OPTIONS]      (make secrets ARGS="OPTIONS")

Writes the Secret ${IMAGE_SECRET} from jobs/.env, which is made from jobs/.env.template.

  --name NAME       which local cluster (default: ${localProfile.cluster})
  --context NAME    the cluster of this kube context instead
  --namespace NAME  of the release, where its workers run (default: ${localProfile.namespace})
  --env-file FILE   (default: jobs/.env)
`;

const values = readOptions(usage, {
  context: { type: "string" },
  name: { type: "string", default: localProfile.cluster },
  namespace: { type: "string", default: localProfile.namespace },
  "env-file": { type: "string", default: relative(process.cwd(), join(checkout, "jobs", ".env")) },
});

try {
  const { namespace } = values;
  const content = readImageSecret(values["env-file"], "jobs/.env.template");
  const target = await chooseTarget({ cluster: values.name, context: values.context });
  // Server-side: the client's own way would keep all values in an annotation, too.
  await kubectl(target, ["apply", "--server-side", "--force-conflicts", "--field-manager=millrace-secrets", "-f", "-"], {
    input: JSON.stringify(imageSecret(namespace, content)),
    hint: `Does the namespace ${namespace} exist in ${target.title}? It comes with: make up`,
  });
  process.stderr.write(
    `${target.title}: Secret ${namespace}/${IMAGE_SECRET} has ${Object.keys(content).join(", ")}. Pods that run read it when they start next.\n`,
  );
} catch (error) {
  process.stderr.write(`${failureText(error)}\n`);
  process.exitCode = 1;
}
