import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type OutputFile, type Plugin } from "esbuild";
import { type BuiltImage, buildNodeServiceImage } from "../cluster/images.ts";

const root = join(import.meta.dirname, "../..");
const bundleDir = join(root, "dist", "image");

/** Some dependencies are CommonJS and call `require`, which an ES module does not have. */
export const REQUIRE_BANNER = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/** What only some installations need: a file of its own, which a service loads when it is configured, with the 2 MB of memory that it takes. */
const EXPORTS_TRACES: Plugin = {
  name: "exports-traces",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/otlp-traces\.ts$/ }, ({ kind }) =>
      kind === "dynamic-import" ? { path: "./otlp-traces.js", external: true } : null,
    ),
};

/**
 * Node takes a container's limit for the size of its heap and would be killed before it collects what it could; half of it leaves room for all that is
 * not heap. With so small a heap V8 would collect its youngest objects each megabyte, and carry what a message needs for a few milliseconds into the
 * old ones: four megabytes halve what is spent on collecting. glibc's arenas for each thread keep what is freed. The Dockerfile says the same.
 */
export const NODE_ARGUMENTS = ["--max-old-space-size-percentage=50", "--max-semi-space-size=4"] as const;
export const SERVICE_ENVIRONMENT = { NODE_ENV: "production", MALLOC_ARENA_MAX: "1" } as const;

/** Of everything in the bundle: a changed service is a changed tag and Kubernetes rolls it out, and an unchanged one is left alone. */
export interface ProductImage {
  readonly tag: string;
}

/**
 * All services in one file, and the `millrace` command beside it, which only `helm test` and people in a pod load: its Kubernetes client would
 * cost every service 75 MB. The Dockerfile and the local image both take `dist/image`.
 */
export async function bundleServices(): Promise<string> {
  await writeBundle(await bundle());
  return bundleDir;
}

/** What the image would be tagged with. Writes nothing. */
export async function productTag(): Promise<string> {
  return tagOf(await bundle());
}

export async function buildProductImage(): Promise<BuiltImage & ProductImage> {
  const files = await bundle();
  await writeBundle(files);
  const tag = tagOf(files);
  const image = await buildNodeServiceImage({
    bundleDir,
    reference: `localhost/millrace:${tag}`,
    entrypoint: ["/usr/local/bin/node", ...NODE_ARGUMENTS, "/app/main.js"],
    environment: SERVICE_ENVIRONMENT,
  });
  return { ...image, tag };
}

async function bundle(): Promise<OutputFile[]> {
  const { outputFiles } = await build({
    entryPoints: {
      main: join(root, "services", "main.ts"),
      cli: join(root, "cli", "src", "main.ts"),
      "otlp-traces": join(root, "libs", "runtime", "otlp-traces.ts"),
    },
    plugins: [EXPORTS_TRACES],
    outdir: bundleDir,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    banner: { js: REQUIRE_BANNER },
    logLevel: "error",
    write: false,
  });
  return outputFiles.sort((a, b) => (a.path < b.path ? 1 : -1));
}

async function writeBundle(files: readonly OutputFile[]): Promise<void> {
  await mkdir(bundleDir, { recursive: true });
  for (const { path, contents } of files) await writeFile(path, contents);
}

function tagOf(files: readonly OutputFile[]): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([NODE_ARGUMENTS, SERVICE_ENVIRONMENT]));
  for (const { contents } of files) hash.update(contents);
  return hash.digest("hex").slice(0, 12);
}
