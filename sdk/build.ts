import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { build, type Metafile, type Plugin } from "esbuild";
import { MillraceError } from "../libs/contract/errors.ts";
import about from "./package.json" with { type: "json" };

const root = join(import.meta.dirname, "..");
const src = join(import.meta.dirname, "src");
const dist = join(import.meta.dirname, "dist");

/** What the package takes in, so that its users need not have it; everything else is a dependency that they see. */
const BUNDLED = ["zod"];

/** What is the same in all of Millrace, and in the package's API: the base of its errors. */
const PUBLIC_OF_LIBS = ["libs/contract/errors.d.ts"];
const PACKAGE = /(?:from|import\() ?"([^."][^"]*)"/;
const RELATIVE = /((?:from|import\() ?)"(\.[^"]+)"/g;

/** zod's messages in fifty languages would be half of the package. */
const ONLY_ENGLISH: Plugin = {
  name: "only-english",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/locales\/index\.js$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, dirname(path), "en.js"),
    })),
};

/**
 * Writes `dist` of `@millrace/worker`: ES modules, of which `heartbeat-thread.js` lies beside the one that starts it, and the declarations of what
 * is public.
 */
export async function buildSdk(): Promise<void> {
  await rm(dist, { recursive: true, force: true });
  await Promise.all([bundle(), declare()]);
  await cp(join(root, "LICENSE"), join(dist, "LICENSE"));
  for (const name of BUNDLED) await cp(join(root, "node_modules", name, "LICENSE"), join(dist, `LICENSE.${name}`));
}

async function bundle(): Promise<void> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: {
      index: join(src, "index.ts"),
      "testing/index": join(src, "testing", "index.ts"),
      "heartbeat-thread": join(src, "heartbeat", "heartbeat-thread.ts"),
    },
    outdir: dist,
    bundle: true,
    // One class of each error, whichever entry it came by.
    splitting: true,
    platform: "node",
    target: "node22",
    format: "esm",
    external: Object.keys(about.dependencies),
    plugins: [ONLY_ENGLISH],
    preserveSymlinks: true,
    metafile: true,
    logLevel: "error",
  });
  refuseUnknownPackages(metafile);
}

function refuseUnknownPackages({ inputs }: Metafile): void {
  const packages = Object.keys(inputs).flatMap((input) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? []);
  const unknown = new Set(packages.filter((name) => !BUNDLED.includes(name)));
  if (unknown.size === 0) return;
  const names = [...unknown].join(", ");
  throw new MillraceError("SDK_BUNDLE", `the package would hold a copy of ${names}: name it as a dependency, or do without`);
}

async function declare(): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "millrace-sdk-"));
  try {
    const tsc = join(root, "node_modules", ".bin", "tsc");
    await promisify(execFile)(tsc, ["-p", join(import.meta.dirname, "tsconfig.build.json"), "--outDir", scratch]);
    await publish(scratch, ["sdk/src/index.d.ts", "sdk/src/testing/index.d.ts"]);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Copies the declarations that the entries consist of, each reference as the package has it. */
async function publish(folder: string, entries: readonly string[]): Promise<void> {
  const found = new Set(entries);
  for (const file of found) {
    const published = placeOf(file, file);
    const text = await readFile(join(folder, file), "utf8");
    const foreign = PACKAGE.exec(text)?.[1];
    if (foreign !== undefined) throw foreignType(file, foreign);
    const mapped = text.replaceAll(RELATIVE, (_all, before: string, target: string) => {
      const needed = join(dirname(file), target).replace(/\.ts$/, ".d.ts");
      found.add(needed);
      const path = relative(dirname(published), placeOf(needed, file)).replace(/\.d\.ts$/, ".js");
      return `${before}"${path.startsWith(".") ? path : `./${path}`}"`;
    });
    await mkdir(dirname(join(dist, published)), { recursive: true });
    await writeFile(join(dist, published), mapped);
  }
}

/** In the package. @throws MillraceError `SDK_TYPES` */
function placeOf(declaration: string, user: string): string {
  if (declaration.startsWith("sdk/src/")) return declaration.slice("sdk/src/".length);
  if (PUBLIC_OF_LIBS.includes(declaration)) return declaration.slice("libs/".length);
  throw foreignType(user, declaration);
}

function foreignType(file: string, needed: string): MillraceError {
  return new MillraceError("SDK_TYPES", `${file} of the public API needs ${needed}: declare in a file of sdk/src what users see`);
}

if (import.meta.main) await buildSdk();
