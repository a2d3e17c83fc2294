import { ClusterError } from "../cluster/cluster-error.ts";
import { command, onPath } from "../cluster/command.ts";
import type { BuiltImage } from "../cluster/images.ts";
import { dockerAnswers } from "./docker-engine.ts";

const INSPECT_TIMEOUT_MS = 30_000;

type Pusher = "skopeo" | "buildah" | "docker";

/** host[:port] and the path below it, as the chart's values want them: `a.test:5000/team/x` → `a.test:5000`, `team/x`. */
export function splitRegistry(place: string): { readonly registry: string; readonly path: string } {
  const [registry = "", ...path] = place.replace(/\/+$/, "").split("/");
  const valid = /^[a-zA-Z0-9.-]+(:\d+)?$/.test(registry) && path.every((part) => /^[a-z0-9]+([._-]+[a-z0-9]+)*$/.test(part));
  if (valid) return { registry, path: path.join("/") };
  throw new ClusterError(
    "OPTION_INVALID",
    `"${place}" is no place in a registry. Give it as host[:port]/path, without https:// and without a tag.`,
  );
}

export interface PushTarget {
  /** host[:port]/path */
  readonly place: string;
  /** @default "millrace" */
  readonly name?: string;
  readonly tag: string;
}

/** Pushes an archive with whichever of the usual programs is there, and returns the reference to pull it by. */
export async function pushImage(image: BuiltImage, target: PushTarget): Promise<string> {
  const reference = pushedReference(target);
  for (const [program, ...args] of pushCommands(await findPusher(), image, reference)) await command(program ?? "", args);
  return reference;
}

/** The reference, when the registry has it. For tags that say what is inside: what is there is then what would be pushed. */
export async function registryHas(target: PushTarget): Promise<string | undefined> {
  const reference = pushedReference(target);
  const [program, ...args] = inspectCommand(await findPusher(), reference);
  // What cannot be seen is pushed: that either works or says why not.
  return command(program ?? "", args, { timeoutMs: INSPECT_TIMEOUT_MS }).then(
    () => reference,
    () => undefined,
  );
}

function pushedReference({ place, name = "millrace", tag }: PushTarget): string {
  const { registry, path } = splitRegistry(place);
  return `${[registry, path, name].filter((part) => part !== "").join("/")}:${tag}`;
}

/** A registry on this machine seldom has a certificate, and docker takes that for granted; the other two have to be told. */
export function pushCommands(pusher: Pusher, image: BuiltImage, reference: string): string[][] {
  const plain = isOnThisMachine(reference);
  switch (pusher) {
    case "skopeo":
      // The policy is about signatures of what is copied, which is our own file, and a minimal system has none.
      return [
        [
          "skopeo",
          "--insecure-policy",
          "copy",
          ...(plain ? ["--dest-tls-verify=false"] : []),
          `docker-archive:${image.archivePath}`,
          `docker://${reference}`,
        ],
      ];
    case "buildah": {
      const buildah = ["buildah", "--storage-driver=vfs"];
      return [
        [...buildah, "pull", `docker-archive:${image.archivePath}`],
        [...buildah, "push", ...(plain ? ["--tls-verify=false"] : []), image.reference, `docker://${reference}`],
        [...buildah, "rmi", image.reference],
      ];
    }
    case "docker":
      return [
        ["docker", "load", "--input", image.archivePath],
        ["docker", "tag", image.reference, reference],
        ["docker", "push", reference],
      ];
  }
}

export function inspectCommand(pusher: Pusher, reference: string): string[] {
  const plain = isOnThisMachine(reference);
  switch (pusher) {
    case "skopeo":
      return ["skopeo", "inspect", "--raw", ...(plain ? ["--tls-verify=false"] : []), `docker://${reference}`];
    case "buildah":
      return [
        "buildah",
        "--storage-driver=vfs",
        "manifest",
        "inspect",
        ...(plain ? ["--tls-verify=false"] : []),
        `docker://${reference}`,
      ];
    case "docker":
      return ["docker", "manifest", "inspect", ...(plain ? ["--insecure"] : []), reference];
  }
}

function isOnThisMachine(reference: string): boolean {
  return /^(localhost|127\.0\.0\.1)(:|\/)/.test(reference);
}

async function findPusher(): Promise<Pusher> {
  const there = (name: string): boolean => onPath(name) !== undefined;
  if (there("skopeo")) return "skopeo";
  if (there("buildah")) return "buildah";
  if (there("docker") && (await dockerAnswers())) return "docker";
  throw new ClusterError(
    "TOOL_MISSING",
    "Pushing needs skopeo, buildah or a running Docker engine, and none is here. Install one: apt-get install skopeo",
  );
}
