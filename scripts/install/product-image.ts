import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { type BuiltImage, buildNodeServiceImage } from "../cluster/images.ts";

const root = join(import.meta.dirname, "../..");
const bundleDir = join(root, "dist", "image");

/** Some dependencies are CommonJS and call `require`, which an ES module does not have. */
const REQUIRE_BANNER = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/**
 * All services in one file, and the `millrace` command beside it, which only `helm test` and people in a pod load: its Kubernetes client would
 * cost every service 75 MB. The Dockerfile and the local image both take `dist/image`.
 */
export async function bundleServices(): Promise<string> {
  await mkdir(bundleDir, { recursive: true });
  await build({
    entryPoints: { main: join(root, "services", "main.ts"), cli: join(root, "cli", "src", "main.ts") },
    outdir: bundleDir,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    banner: { js: REQUIRE_BANNER },
    logLevel: "error",
  });
  return bundleDir;
}

/** Tagged by its content, so that a changed service is a changed tag and Kubernetes rolls it out, and an unchanged one is left alone. */
export async function buildProductImage(): Promise<BuiltImage & { readonly tag: string }> {
  const bundle = await bundleServices();
  const hash = createHash("sha256");
  for (const file of ["main.js", "cli.js"]) hash.update(await readFile(join(bundle, file)));
  const tag = hash.digest("hex").slice(0, 12);
  const image = await buildNodeServiceImage({
    bundleDir: bundle,
    reference: `localhost/millrace:${tag}`,
    entrypoint: ["/usr/local/bin/node", "/app/main.js"],
  });
  return { ...image, tag };
}
