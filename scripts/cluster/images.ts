import { existsSync, readdirSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { binaryVersion } from "./binaries.ts";
import { ClusterError } from "./cluster-error.ts";
import { command } from "./command.ts";
import { type BuiltImage, buildImage, type LayerEntry } from "./image-archive.ts";
import { pauseReference } from "./node-config.ts";

export type { BuiltImage } from "./image-archive.ts";

export interface NodeServiceImageOptions {
  /** Its content becomes /app. */
  readonly bundleDir: string;
  readonly reference: string;
  readonly entrypoint: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** @default the binary of the `node` npm package of this checkout */
  readonly nodeBinary?: string;
}

const busybox = "/bin/busybox";
const path = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
const nonRoot = "65532:65532";
const certificateBundle = "/etc/ssl/certs/ca-certificates.crt";
const ownNode = join(import.meta.dirname, "../../node_modules/node/bin/node");

/** glibc opens these by name when a name is looked up, so `ldd` does not show them. */
const lookupLibraries = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];

const accounts: readonly LayerEntry[] = [
  {
    kind: "text",
    path: "etc/passwd",
    content: "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n",
    mode: 0o644,
  },
  { kind: "text", path: "etc/group", content: "root:x:0:\nnonroot:x:65532:\n", mode: 0o644 },
  { kind: "folder", path: "tmp", mode: 0o1777 },
];

/** What examples and tests call `busybox:latest`, under the full name that a runtime makes of it. */
export async function buildBusyboxImage(): Promise<BuiltImage> {
  requireInput(busybox, "apt-get install busybox-static");
  const applets = (await command(busybox, ["--list-full"]))
    .split("\n")
    .filter((applet) => applet !== "" && applet !== "bin/busybox");
  const links = applets.map((applet): LayerEntry => ({ kind: "link", path: applet, target: busybox }));
  return buildImage({
    reference: "docker.io/library/busybox:latest",
    layers: [[{ kind: "file", path: "bin/busybox", source: busybox, mode: 0o755 }, ...links, ...accounts]],
    entrypoint: [],
    command: ["sh"],
    user: "",
    environment: path,
    workingDir: "/",
  });
}

/** Holds a pod's namespaces open and does nothing. The runtime ends it by KILL, so it handles no signal. */
export async function buildPauseImage(): Promise<BuiltImage> {
  requireInput(busybox, "apt-get install busybox-static");
  return buildImage({
    reference: pauseReference,
    layers: [[{ kind: "file", path: "bin/busybox", source: busybox, mode: 0o755 }]],
    entrypoint: ["/bin/busybox", "sleep", "2147483647"],
    user: nonRoot,
    environment: path,
    workingDir: "/",
  });
}

export async function buildNatsImage(natsServerPath: string): Promise<BuiltImage> {
  requireInput(natsServerPath, 'ensureBinaries(["nats-server"], …)');
  return buildImage({
    reference: "localhost/nats:2.15.2",
    layers: [[{ kind: "file", path: "nats-server", source: natsServerPath, mode: 0o755 }, certificates(), ...accounts]],
    entrypoint: ["/nats-server"],
    user: nonRoot,
    environment: path,
    workingDir: "/",
  });
}

/** An S3 for demos and tests. Its data goes to /data, where a volume with room for extended attributes has to be. */
export async function buildVersitygwImage(versitygwPath: string): Promise<BuiltImage> {
  requireInput(versitygwPath, 'ensureBinaries(["versitygw"], …)');
  return buildImage({
    reference: `localhost/versitygw:${binaryVersion("versitygw").slice(1)}`,
    layers: [[{ kind: "file", path: "versitygw", source: versitygwPath, mode: 0o755 }, certificates(), ...accounts]],
    entrypoint: ["/versitygw"],
    command: ["--region", "auto", "posix", "/data"],
    user: nonRoot,
    environment: path,
    workingDir: "/",
  });
}

/** As KEDA's own images are named, with the program that each has and the path that its manifests start it by. */
const kedaPrograms = {
  keda: { program: "operator", path: "keda" },
  "keda-metrics-apiserver": { program: "adapter", path: "keda-adapter" },
  "keda-admission-webhooks": { program: "webhooks", path: "keda-admission-webhooks" },
} as const;
export type KedaImageName = keyof typeof kedaPrograms;
export const kedaImageNames: readonly KedaImageName[] = ["keda", "keda-metrics-apiserver", "keda-admission-webhooks"];

export interface KedaImageOptions {
  readonly name: KedaImageName;
  readonly programsDir: string;
  readonly version: string;
}

export async function buildKedaImage({ name, programsDir, version }: KedaImageOptions): Promise<BuiltImage> {
  const { program, path: target } = kedaPrograms[name];
  const source = join(programsDir, program);
  requireInput(source, 'ensureBinaries(["keda"], …)');
  return buildImage({
    reference: `localhost/${name}:${version}`,
    layers: [[{ kind: "file", path: target, source, mode: 0o755 }, certificates(), ...accounts]],
    entrypoint: [`/${target}`],
    user: nonRoot,
    environment: path,
    workingDir: "/",
  });
}

/** Two layers, Node below and the bundle above: a changed bundle unpacks in the cluster without the 127 MB of Node. */
export async function buildNodeServiceImage(options: NodeServiceImageOptions): Promise<BuiltImage> {
  const { bundleDir, nodeBinary = ownNode } = options;
  requireInput(bundleDir, "bundle the services");
  return buildImage({
    reference: options.reference,
    layers: [await nodeLayer(nodeBinary, bundleDir), [{ kind: "tree", path: "app", source: bundleDir }]],
    entrypoint: options.entrypoint,
    user: nonRoot,
    environment: { ...path, ...options.environment, SSL_CERT_FILE: certificateBundle },
    workingDir: "/app",
  });
}

async function nodeLayer(nodeBinary: string, bundleDir: string): Promise<LayerEntry[]> {
  requireInput(nodeBinary, "npm ci");
  const own = parseLdd(await command("ldd", [nodeBinary]));
  const libraryFolder = own
    .map((library) => (basename(library) === "libc.so.6" ? dirname(library) : ""))
    .find((folder) => folder !== "");
  if (libraryFolder === undefined) {
    throw new ClusterError(
      "IMAGE_INPUT_MISSING",
      `${nodeBinary} is not linked against glibc. Use the \`node\` npm package's binary (npm ci).`,
    );
  }
  const looked = lookupLibraries.map((library) => join(libraryFolder, library)).filter((library) => existsSync(library));
  const libraries = new Set([...own, ...looked, ...(await nativeLibraries(bundleDir))]);
  const files = [...libraries].map((library): LayerEntry => {
    return { kind: "file", path: library.slice(1), source: realpathSync(library), mode: 0o755 };
  });
  return [
    { kind: "file", path: "usr/local/bin/node", source: realpathSync(nodeBinary), mode: 0o755 },
    ...files,
    certificates(),
    { kind: "text", path: "etc/nsswitch.conf", content: "hosts: files dns\n", mode: 0o644 },
    ...accounts,
  ];
}

/** What the system has to give for native parts that a bundle brings; what they bring of each other is in the bundle. */
async function nativeLibraries(bundleDir: string): Promise<string[]> {
  const files = readdirSync(bundleDir, { recursive: true, encoding: "utf8" }).filter((file) =>
    /\.(node|so(\.[\d.]+)?)$/.test(file),
  );
  const needed: string[] = [];
  for (const file of files.sort()) needed.push(...parseLdd(await command("ldd", [join(bundleDir, file)])));
  return needed.filter((library) => !realpathSync(library).startsWith(`${realpathSync(bundleDir)}/`));
}

/** The absolute paths in `ldd`'s answer; linux-vdso has none, as the kernel maps it. */
export function parseLdd(output: string): string[] {
  return output.split("\n").flatMap((line) => {
    const match = /(?:=>\s+|^\s*)(\/\S+)\s+\(0x/.exec(line);
    return match?.[1] === undefined ? [] : [match[1]];
  });
}

function certificates(): LayerEntry {
  requireInput(certificateBundle, "apt-get install ca-certificates");
  return { kind: "file", path: certificateBundle.slice(1), source: realpathSync(certificateBundle), mode: 0o644 };
}

function requireInput(file: string, fix: string): void {
  if (!existsSync(file)) throw new ClusterError("IMAGE_INPUT_MISSING", `${file} does not exist. First: ${fix}`);
}
