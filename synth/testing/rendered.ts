import { fileURLToPath } from "node:url";
import type { V1Container, V1Deployment, V1Pod, V1PodSpec, V1StatefulSet } from "@kubernetes/client-node";
import { parseAllDocuments } from "yaml";
import { type Helm, helmCommand } from "./helm-command.ts";

/** The committed chart, rendered by the real helm, and taken apart for assertions. */
export const CHART = fileURLToPath(new URL("../../charts/millrace", import.meta.url));
export const EVERYTHING = fileURLToPath(new URL("../__golden__/everything.values.yaml", import.meta.url));
export const EXTERNAL = fileURLToPath(new URL("../__golden__/external.values.yaml", import.meta.url));

export type Document = {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: { [key: string]: string };
    annotations?: { [key: string]: string };
  };
};

/** What helm is to believe of a cluster that it does not see. */
export const WITH_KEDA = ["--api-versions", "keda.sh/v1alpha1"];

/** What `helm template` prints for a cluster with KEDA. Anything on stderr is a failure: a warning of today is an error of tomorrow. */
export async function rendered(helm: Helm, release: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await helm("template", release, CHART, ...WITH_KEDA, ...args);
  if (code !== 0 || stderr !== "") throw new Error(`helm template ${release} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

export async function template(release: string, ...args: string[]): Promise<string> {
  return rendered(await helmCommand(), release, ...args);
}

/** How Helm refuses to render. */
export async function refusal(...args: string[]): Promise<string> {
  const helm = await helmCommand();
  const { code, stdout, stderr } = await helm("template", "x", CHART, ...args);
  if (code === 0) throw new Error(`helm rendered ${args.join(" ")}:\n${stdout}`);
  return stderr;
}

export function documents(yaml: string): Document[] {
  return parseAllDocuments(yaml).flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    return document.contents === null ? [] : [document.toJS() as Document];
  });
}

export const ofKind = <T>(all: Document[], kind: string): (T & Document)[] =>
  all.filter((document) => document.kind === kind) as (T & Document)[];

export function only<T>(found: readonly T[]): T {
  const [first] = found;
  if (first === undefined || found.length !== 1) throw new Error(`expected one, found ${found.length}`);
  return first;
}

export const byName = <T>(all: Document[], kind: string, name: string): T & Document =>
  only(ofKind<T>(all, kind).filter((document) => document.metadata.name === name));

type Workload = V1Deployment & V1StatefulSet;

export const workloads = (all: Document[]): (Workload & Document)[] => [
  ...ofKind<Workload>(all, "Deployment"),
  ...ofKind<Workload>(all, "StatefulSet"),
];

export const pods = (all: Document[]): V1PodSpec[] =>
  workloads(all).map(({ metadata, spec }) => {
    const pod = spec?.template.spec;
    if (pod === undefined) throw new Error(`${metadata.name} has no pod`);
    return pod;
  });

export const testPods = (all: Document[]): V1PodSpec[] => ofKind<V1Pod>(all, "Pod").flatMap(({ spec }) => spec ?? []);

export function deployedPod(all: Document[], deployment: string): V1PodSpec {
  const spec = byName<V1Deployment>(all, "Deployment", deployment).spec?.template.spec;
  if (spec === undefined) throw new Error(`${deployment} has no pod`);
  return spec;
}

/** The variables of a pod's only container. */
export function environmentOf(pod: V1PodSpec): { [name: string]: string | undefined } {
  return Object.fromEntries(only<V1Container>(pod.containers).env?.map(({ name, value }) => [name, value]) ?? []);
}

export const environment = (all: Document[], deployment: string) => environmentOf(deployedPod(all, deployment));
