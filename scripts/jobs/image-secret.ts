import { existsSync, readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { readSettings } from "../../jobs/image-store/settings.ts";
import { storeSettings } from "../../jobs/image-store/store-settings.ts";
import { errorText } from "../../libs/contract/errors.ts";
import { ClusterError } from "../cluster/cluster-error.ts";
import { IMAGE_SECRET } from "../install/image-pipeline.ts";

const KEYS = ["R2_ACCOUNT_ID", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET", "S3_ENDPOINT", "S3_REGION"] as const;

/**
 * The Secret's content, checked as the jobs themselves will check it. No message quotes a value.
 * @throws ClusterError `OPTION_INVALID`
 */
export function readImageSecret(file: string, template: string): Readonly<Record<string, string>> {
  if (!existsSync(file)) {
    throw new ClusterError(
      "OPTION_INVALID",
      `${file} does not exist. Make it from the template and fill it in: cp ${template} ${file}`,
    );
  }
  const set = Object.entries(parseEnv(readFileSync(file, "utf8"))).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== "",
  );
  const unknown = set.map(([key]) => key).filter((key) => !KEYS.some((known) => known === key));
  if (unknown.length > 0) {
    throw new ClusterError(
      "OPTION_INVALID",
      `${file}: ${unknown.join(", ")} is none of ${KEYS.join(", ")}. Correct or remove it.`,
    );
  }
  const found = Object.fromEntries(set);
  try {
    readSettings(storeSettings, found);
  } catch (error) {
    // A job may be told the path of a file; what is written here goes into the Secret as it is.
    const problem = errorText(error).replaceAll(/, or \w+_FILE to the path of a file that holds it/g, "");
    throw new ClusterError("OPTION_INVALID", `${file}: ${problem}`);
  }
  return found;
}

export function imageSecret(namespace: string, content: Readonly<Record<string, string>>): object {
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: IMAGE_SECRET, namespace, labels: { "app.kubernetes.io/part-of": "millrace" } },
    type: "Opaque",
    stringData: content,
  };
}
