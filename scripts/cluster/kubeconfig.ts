import { parse, stringify } from "yaml";
import { z } from "zod";

interface ClusterAccess {
  readonly name: string;
  readonly server: string;
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

const entrySchema = z.looseObject({ name: z.string() });
/** Loose at every level: what other programs keep in the file goes back as it came. Empty lists are often written as null. */
const configSchema = z.looseObject({
  "current-context": z.string().nullish(),
  clusters: z.array(entrySchema).nullish(),
  contexts: z.array(entrySchema).nullish(),
  users: z.array(entrySchema).nullish(),
});

type Config = z.infer<typeof configSchema>;
type Entry = z.infer<typeof entrySchema>;

/** Cluster, user and context all bear the cluster's name; the certificates are inside, so the text works from anywhere. */
export function renderKubeconfig(access: ClusterAccess): string {
  const { name } = access;
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster: { server: access.server, "certificate-authority-data": access.ca.toString("base64") } }],
    users: [
      {
        name,
        user: { "client-certificate-data": access.cert.toString("base64"), "client-key-data": access.key.toString("base64") },
      },
    ],
    contexts: [{ name, context: { cluster: name, user: name } }],
    "current-context": name,
  });
}

/** `addition`'s entries replace those of the same names; everything else stays; its context becomes the current one. */
export function mergeKubeconfig(existing: string, addition: string): string {
  const before = readConfig(existing);
  const added = readConfig(addition);
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    ...before,
    clusters: replaceByName(before.clusters, added.clusters),
    contexts: replaceByName(before.contexts, added.contexts),
    users: replaceByName(before.users, added.users),
    "current-context": added["current-context"] ?? "",
  });
}

/** Takes out cluster, user and context `name`. Someone else's current context stays; our own gives way to `previous`, if that is still there. */
export function unmergeKubeconfig(existing: string, name: string, previous: string | undefined): string {
  const before = readConfig(existing);
  const others = (entries: readonly Entry[] | null | undefined): Entry[] =>
    (entries ?? []).filter((entry) => entry.name !== name);
  const contexts = others(before.contexts);
  const fallback = contexts.some((context) => context.name === previous) ? (previous ?? "") : "";
  const current = before["current-context"] ?? "";
  return stringify({
    ...before,
    clusters: others(before.clusters),
    contexts,
    users: others(before.users),
    "current-context": current === name ? fallback : current,
  });
}

export function currentContext(existing: string): string | undefined {
  const current = readConfig(existing)["current-context"] ?? "";
  return current === "" ? undefined : current;
}

export function namesContext(existing: string, name: string): boolean {
  const config = readConfig(existing);
  return [config.clusters, config.contexts, config.users].some((entries) => (entries ?? []).some((entry) => entry.name === name));
}

function readConfig(text: string): Config {
  return configSchema.parse(parse(text) ?? {});
}

function replaceByName(before: readonly Entry[] | null | undefined, added: readonly Entry[] | null | undefined): Entry[] {
  const names = new Set((added ?? []).map((entry) => entry.name));
  return [...(before ?? []).filter((entry) => !names.has(entry.name)), ...(added ?? [])];
}
