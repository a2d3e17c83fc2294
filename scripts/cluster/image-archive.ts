import { createHash, type Hash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { arch } from "node:os";
import { dirname, join } from "node:path";
import { ClusterError } from "./cluster-error.ts";
import { command } from "./command.ts";
import { FREE_FOR_IMAGES, requireFreeSpace } from "./disk-space.ts";
import { cacheHome } from "./layout.ts";

export type LayerEntry =
  | { readonly kind: "folder"; readonly path: string; readonly mode: number }
  | { readonly kind: "text"; readonly path: string; readonly content: string; readonly mode: number }
  | { readonly kind: "file"; readonly path: string; readonly source: string; readonly mode: number }
  | { readonly kind: "tree"; readonly path: string; readonly source: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

export interface ImageSpec {
  readonly reference: string;
  readonly layers: readonly (readonly LayerEntry[])[];
  readonly entrypoint: readonly string[];
  readonly command?: readonly string[];
  /** Numeric, so that `runAsNonRoot` can be checked without the image's passwd. */
  readonly user: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDir: string;
}

export interface BuiltImage {
  readonly archivePath: string;
  readonly reference: string;
  /** Of everything that goes in; the same inputs give the same archive, byte for byte. */
  readonly contentHash: string;
}

const ARCHIVES_KEPT = 6;
const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/**
 * Makes a docker-archive without Docker, buildah or root. Its name carries the hash of the inputs: there → nothing to do.
 * Built in a temporary folder and renamed, so two builds at once end with the same file.
 */
export async function buildImage(spec: ImageSpec): Promise<BuiltImage> {
  const contentHash = hashOf(spec);
  const { repository, tag } = splitReference(spec.reference);
  const folder = join(cacheHome(), "images", repository.replace(/[^a-zA-Z0-9.-]+/g, "_"));
  const archivePath = join(folder, `${tag}-${contentHash.slice(0, 16)}.tar`);
  const image = { archivePath, reference: spec.reference, contentHash };
  if (existsSync(archivePath)) {
    const now = new Date();
    utimesSync(archivePath, now, now);
    return image;
  }
  requireFreeSpace([folder], FREE_FOR_IMAGES);
  mkdirSync(folder, { recursive: true });
  const workDir = mkdtempSync(`${archivePath}.build-`);
  try {
    const outDir = join(workDir, "out");
    mkdirSync(outDir);
    const digests: string[] = [];
    for (const [index, layer] of spec.layers.entries()) {
      digests.push(await writeLayer(layer, join(workDir, `root-${index}`), join(outDir, `layer-${index}.tar`)));
    }
    writeFileSync(join(outDir, "config.json"), JSON.stringify(imageConfig(spec, digests)));
    const layers = spec.layers.map((_, index) => `layer-${index}.tar`);
    writeFileSync(
      join(outDir, "manifest.json"),
      JSON.stringify([{ Config: "config.json", RepoTags: [spec.reference], Layers: layers }]),
    );
    const draft = join(workDir, "image.tar");
    await tar(outDir, draft);
    renameSync(draft, archivePath);
    prune(folder);
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
  return image;
}

export function splitReference(reference: string): { readonly repository: string; readonly tag: string } {
  const match = /^(.+):([\w][\w.-]{0,127})$/.exec(reference);
  const [, repository, tag] = match ?? [];
  if (repository === undefined || tag === undefined) {
    throw new ClusterError("IMAGE_INPUT_MISSING", `"${reference}" has no tag. Name the image as localhost/NAME:TAG.`);
  }
  return { repository, tag };
}

/** Each change of a bundle makes an archive of 127 MB. The least recently used go, beyond what a few branches need. */
function prune(folder: string): void {
  const archives = readdirSync(folder).filter((file) => file.endsWith(".tar"));
  const byAge = archives
    .map((file) => ({ file, usedMs: statSync(join(folder, file)).mtimeMs }))
    .sort((a, b) => b.usedMs - a.usedMs);
  for (const { file } of byAge.slice(ARCHIVES_KEPT)) rmSync(join(folder, file), { force: true });
}

function imageConfig(spec: ImageSpec, digests: readonly string[]): object {
  return {
    architecture: architectures[arch()] ?? arch(),
    os: "linux",
    created: "1970-01-01T00:00:00Z",
    config: {
      User: spec.user,
      Env: Object.entries(spec.environment).map(([name, value]) => `${name}=${value}`),
      Entrypoint: spec.entrypoint,
      ...(spec.command === undefined ? {} : { Cmd: spec.command }),
      WorkingDir: spec.workingDir,
    },
    rootfs: { type: "layers", diff_ids: digests },
    history: digests.map(() => ({ created: "1970-01-01T00:00:00Z", created_by: "millrace" })),
  };
}

async function writeLayer(layer: readonly LayerEntry[], root: string, archive: string): Promise<string> {
  mkdirSync(root);
  for (const entry of layer) place(entry, root);
  normalizeModes(root);
  for (const entry of layer) if ("mode" in entry) chmodSync(join(root, entry.path), entry.mode);
  await tar(root, archive);
  rmSync(root, { recursive: true, force: true });
  return `sha256:${createHash("sha256").update(readFileSync(archive)).digest("hex")}`;
}

/** The builder's umask must not decide what the image's user may read: only the executable bit of a source counts. */
function normalizeModes(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) normalizeModes(path);
    else if (entry.isFile()) chmodSync(path, isExecutable(path) ? 0o755 : 0o644);
  }
}

function isExecutable(path: string): boolean {
  return (statSync(path).mode & 0o100) !== 0;
}

function place(entry: LayerEntry, root: string): void {
  const path = join(root, entry.path);
  mkdirSync(dirname(path), { recursive: true });
  switch (entry.kind) {
    case "folder":
      mkdirSync(path, { recursive: true });
      return;
    case "text":
      writeFileSync(path, entry.content);
      return;
    case "file":
      copyFileSync(entry.source, path);
      return;
    case "tree":
      cpSync(entry.source, path, { recursive: true, verbatimSymlinks: true });
      return;
    case "link":
      symlinkSync(entry.target, path);
      return;
  }
}

/** Sorted, owned by root and at time zero: the same folder gives the same bytes. */
async function tar(folder: string, archive: string): Promise<void> {
  const reproducible = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"];
  await command("tar", [...reproducible, "--create", `--file=${archive}`, `--directory=${folder}`, "."]);
}

function hashOf(spec: ImageSpec): string {
  const hash = createHash("sha256");
  const { layers, ...rest } = spec;
  hash.update(JSON.stringify({ ...rest, arch: arch() }));
  for (const layer of layers) {
    hash.update("layer");
    for (const entry of layer) {
      // Not the source's path: the same content from another checkout is the same image.
      hash.update(JSON.stringify("source" in entry ? { ...entry, source: "" } : entry));
      if ("source" in entry) hashPath(hash, entry.source);
    }
  }
  return hash.digest("hex");
}

function hashPath(hash: Hash, path: string): void {
  if (!existsSync(path))
    throw new ClusterError("IMAGE_INPUT_MISSING", `${path} goes into an image and does not exist. Build it first.`);
  if (!statSync(path).isDirectory()) {
    hash.update(isExecutable(path) ? "x" : "-").update(readFileSync(path));
    return;
  }
  for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const child = join(path, entry.name);
    hash.update(`\0${entry.name}\0`);
    if (entry.isSymbolicLink()) hash.update(readlinkSync(child));
    else hashPath(hash, child);
  }
}
