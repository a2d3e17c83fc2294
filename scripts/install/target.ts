import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type CommandOptions, command, onPath } from "../cluster/command.ts";
import type { BuiltImage } from "../cluster/images.ts";
import type { ProductImage } from "./product-image.ts";
import type { Section } from "./section.ts";

export type Progress = (line: string) => void;

/** A cluster to install on. Everything that differs between a local cluster, kind and somebody's own cluster is behind this. */
export interface Target {
  /** What people call it. */
  readonly title: string;
  readonly context: string;
  /** What KUBECONFIG is to be for that context. */
  readonly kubeconfig: string;
  /** kubectl and helm; there once `up` has run. */
  readonly binDir: string;
  /** Whether images get in by import; otherwise the cluster pulls them. */
  readonly takesImports: boolean;
  exists(): Promise<boolean>;
  /** What `up` would do. Changes nothing. */
  plan(): Promise<string>;
  up(progress: Progress): Promise<void>;
  down(progress: Progress): Promise<void>;
  importImage(image: BuiltImage, progress: Progress): Promise<void>;
  /** Where its pods find the product's image and, if it is not the chart's own, that of NATS. */
  imageValues(product: ProductImage): Readonly<Record<string, unknown>>;
  health(): Promise<Section>;
}

type Access = Pick<Target, "binDir" | "context" | "kubeconfig">;

export function kubectl(target: Access, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return onTarget(target, "kubectl", ["--context", target.context, ...args], options);
}

export async function kubectlJson(target: Access, args: readonly string[]): Promise<unknown> {
  return JSON.parse(await kubectl(target, [...args, "-o", "json"]));
}

export function helm(target: Access, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return onTarget(target, "helm", [...args, "--kube-context", target.context], options);
}

/** The target's own; before its first `up` (a dry run, a look at the status) the user's, if there is one. */
export function clientProgram(target: Pick<Target, "binDir">, program: string): string | undefined {
  const own = join(target.binDir, program);
  return existsSync(own) ? own : onPath(program);
}

function onTarget(target: Access, program: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const file = clientProgram(target, program) ?? join(target.binDir, program);
  return command(file, args, { ...options, env: { ...options.env, KUBECONFIG: target.kubeconfig } });
}

/** The values of a cluster that has the images under the names that they were built with. */
export function importedImageValues(product: ProductImage, natsTag: string): Readonly<Record<string, unknown>> {
  return {
    image: { registry: "localhost", repository: "millrace", tag: product.tag },
    nats: { image: { registry: "localhost", repository: "nats", tag: natsTag } },
  };
}

/** For clusters that the user's own kubeconfig knows; it may be a list of files, which only the variable can express. */
export function userKubeconfig(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const set = environment["KUBECONFIG"] ?? "";
  return set === "" ? join(homedir(), ".kube", "config") : set;
}
