import { readFile } from "node:fs/promises";
import { z } from "zod";
import { SettingsError } from "./settings.ts";

const R2_ENDPOINT = "r2.cloudflarestorage.com";

/**
 * Secrets come as values (`envFrom` a Secret) or, better, as files (`extraVolumes` and `extraVolumeMounts`): an environment is shown by
 * `kubectl exec … env` and inherited.
 */
const fields = {
  R2_ACCOUNT_ID: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,63}$/, "must be the account's id")
    .optional(),
  R2_ACCESS_KEY_ID: z.string().optional(),
  R2_ACCESS_KEY_ID_FILE: z.string().optional(),
  R2_SECRET_ACCESS_KEY: z.string().optional(),
  R2_SECRET_ACCESS_KEY_FILE: z.string().optional(),
  R2_BUCKET: z.string().optional(),
  S3_ENDPOINT: z.url({ protocol: /^https?$/, error: "must be an http or https URL" }).optional(),
  S3_REGION: z.string().default("auto"),
} as const;

/** Where the objects are. `S3_ENDPOINT` wins over the account's endpoint at R2. */
export const storeSettings = z.object(fields).transform((env, context): StoreSettings => {
  const problem = (path: string, message: string): void => context.addIssue({ code: "custom", path: [path], message });
  const secret = (name: "R2_ACCESS_KEY_ID" | "R2_SECRET_ACCESS_KEY"): SecretSource => {
    const value = env[name];
    const path = env[`${name}_FILE`];
    if (path !== undefined) return { kind: "file", name: `${name}_FILE`, path };
    if (value === undefined) problem(name, `is missing: set it, or ${name}_FILE to the path of a file that holds it`);
    return { kind: "value", value: value ?? "" };
  };
  // Here and not in the fields, which would be all that is reported then.
  if (env.R2_BUCKET === undefined) problem("R2_BUCKET", "is missing: set it to the bucket's name");
  if (env.S3_ENDPOINT === undefined && env.R2_ACCOUNT_ID === undefined) {
    problem("R2_ACCOUNT_ID", "is missing: set it, or S3_ENDPOINT to the URL of another S3");
  }
  return {
    endpoint: env.S3_ENDPOINT ?? `https://${env.R2_ACCOUNT_ID ?? ""}.${R2_ENDPOINT}`,
    region: env.S3_REGION,
    bucket: env.R2_BUCKET ?? "",
    accessKeyId: secret("R2_ACCESS_KEY_ID"),
    secretAccessKey: secret("R2_SECRET_ACCESS_KEY"),
  };
});

export type SecretSource =
  | { readonly kind: "value"; readonly value: string }
  | { readonly kind: "file"; readonly name: string; readonly path: string };

export interface StoreSettings {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly accessKeyId: SecretSource;
  readonly secretAccessKey: SecretSource;
}

/** Of a file: read anew each time, so that a rotated Secret is used without a restart. */
export async function readSecret(source: SecretSource): Promise<string> {
  if (source.kind === "value") return source.value;
  const text = await readFile(source.path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new SettingsError(`the file of ${source.name} cannot be read (${error.code ?? "unknown"}): ${source.path}`);
  });
  if (text.trim() === "") throw new SettingsError(`the file of ${source.name} is empty: ${source.path}`);
  return text.trim();
}
