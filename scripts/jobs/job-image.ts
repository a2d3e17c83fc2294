import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { arch } from "node:os";
import { basename, join } from "node:path";
import { build, type Metafile, type OutputFile } from "esbuild";
import { type BuiltImage, buildNodeServiceImage } from "../cluster/images.ts";
import { NODE_ARGUMENTS, REQUIRE_BANNER, SERVICE_ENVIRONMENT } from "../install/product-image.ts";
import { checkout } from "./job-folders.ts";
import { copyPackages, type InstalledPackage, KEPT_PACKAGES, withDependencies } from "./kept-packages.ts";

/** Node by its package: the image takes the binary from there. */
const NODE = "node";

export interface JobImage extends BuiltImage {
  readonly job: string;
  /** Of all that is in it: an unchanged job keeps its tag, and its pods are left alone. */
  readonly tag: string;
}

interface Bundle {
  readonly files: readonly OutputFile[];
  readonly packages: readonly InstalledPackage[];
  readonly tag: string;
}

/** Bundles a worker into `dist/jobs/<job>`, for this image and for jobs/Dockerfile. Its `main.ts` is in `folder`. */
export async function buildJobImage(job: string, root = checkout, folder = folderOf(job, root)): Promise<JobImage> {
  const bundle = await bundleJob(job, root, folder);
  const image = await buildNodeServiceImage({
    bundleDir: writeBundle(job, bundle, root),
    reference: `localhost/${job}:${bundle.tag}`,
    entrypoint: ["/usr/local/bin/node", ...NODE_ARGUMENTS, "/app/main.js"],
    environment: SERVICE_ENVIRONMENT,
  });
  return { ...image, job, tag: bundle.tag };
}

/** The tag that `buildJobImage` would give. Writes nothing. */
export async function jobTag(job: string, root = checkout): Promise<string> {
  return (await bundleJob(job, root, folderOf(job, root))).tag;
}

const folderOf = (job: string, root: string): string => join(root, "jobs", job);

async function bundleJob(job: string, root: string, folder: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    entryPoints: {
      main: join(folder, "main.ts"),
      // The thread that keeps the leases is a program of its own, which the SDK looks for beside its own file.
      "heartbeat-thread": join(root, "sdk", "src", "heartbeat", "heartbeat-thread.ts"),
    },
    outdir: join(root, "dist", "jobs", job),
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    conditions: ["millrace-source"],
    external: [...KEPT_PACKAGES],
    banner: { js: REQUIRE_BANNER },
    logLevel: "error",
    metafile: true,
    write: false,
  });
  const files = outputFiles.sort((a, b) => (a.path < b.path ? -1 : 1));
  const packages = withDependencies(keptIn(metafile), root);
  return { files, packages, tag: tagOf(files, packages, root) };
}

function keptIn({ outputs }: Metafile): string[] {
  const imported = Object.values(outputs).flatMap(({ imports }) => imports.map(({ path }) => path));
  return KEPT_PACKAGES.filter((name) => imported.some((path) => path === name || path.startsWith(`${name}/`)));
}

/** In place by one rename, so that a build that is killed leaves nothing that looks whole. */
function writeBundle(job: string, { files, packages }: Bundle, root: string): string {
  const home = join(root, "dist", "jobs");
  const target = join(home, job);
  mkdirSync(home, { recursive: true });
  const draft = mkdtempSync(join(home, `.${job}-`));
  // The image's user is not the builder.
  chmodSync(draft, 0o755);
  for (const { path, contents } of files) writeFileSync(join(draft, basename(path)), contents);
  copyPackages(packages, join(draft, "node_modules"));
  rmSync(target, { recursive: true, force: true });
  renameSync(draft, target);
  return target;
}

function tagOf(files: readonly OutputFile[], packages: readonly InstalledPackage[], root: string): string {
  const below = [...packages, ...withDependencies([NODE], root)].map(({ id }) => id);
  const hash = createHash("sha256").update(JSON.stringify([NODE_ARGUMENTS, SERVICE_ENVIRONMENT, arch(), below]));
  for (const { path, contents } of files) hash.update(basename(path)).update(contents);
  return hash.digest("hex").slice(0, 12);
}
