import type {
  V1Affinity,
  V1EnvFromSource,
  V1EnvVar,
  V1LocalObjectReference,
  V1ResourceRequirements,
  V1Toleration,
  V1TopologySpreadConstraint,
  V1Volume,
  V1VolumeMount,
} from "@kubernetes/client-node";
import { z } from "zod";
import { block, bool, int, Leaf, oneOf, type Schema, section, type Tree, text } from "./helm/values.ts";

/** Groups of values that several parts of the chart have. */
export type StringMap = { [key: string]: string };

export const DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
const DNS_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
export const TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
const INT32_MAX = 2_147_483_647;

export const duration = (initial: string, doc: string): Leaf<string> =>
  text(initial, doc, { pattern: "^([0-9]+(ms|s|m|h|d))+$" });

/** As the CRDs of the Prometheus Operator take it. */
export const promDuration = (initial: string, doc: string): Leaf<string> =>
  text(initial, doc, { pattern: "^(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?$" });

/** Only binary units: the chart compares sizes, and NATS reads them too. As many digits as fit into 64 bits of bytes. */
export const size = (initial: string, doc: string): Leaf<string> =>
  text(initial, doc, { pattern: "^([1-9][0-9]{0,8}(Ki|Mi|Gi)|[1-9][0-9]{0,5}Ti)$" });

export const dnsName = (initial: string, doc: string): Leaf<string> =>
  text(initial, doc, { pattern: `^(${DNS_PART}(\\.${DNS_PART})*)?$`, maxLength: 253 });

/** A key of a Secret. */
export const secretKey = (initial: string, doc: string): Leaf<string> =>
  text(initial, doc, { pattern: "^[-._a-zA-Z0-9]*$", maxLength: 253 });

const LABEL_VALUE: Schema = { type: "string", pattern: "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$" };

export const labels = (doc: string): Leaf<StringMap> => block<StringMap>({}, doc, { additionalProperties: LABEL_VALUE });
export const annotations = (doc: string): Leaf<StringMap> =>
  block<StringMap>({}, doc, { additionalProperties: { type: "string" } });

export const imageFields = (repository: string, tag: Leaf<string>) => ({
  registry: text("", "Registry of the image. `global.imageRegistry` wins over it; empty = the container runtime's default."),
  repository: text(repository, "Repository of the image.", { minLength: 1 }),
  tag,
  digest: text("", "Digest (`sha256:…`) of the image; wins over the tag.", { pattern: "^(sha256:[0-9a-f]{64})?$" }),
  pullPolicy: pullPolicy(),
});

const pullPolicy = (): Leaf<string> =>
  oneOf("IfNotPresent", "When the kubelet pulls the image.", ["IfNotPresent", "Always", "Never"]);

const resources = (requests: StringMap, limits: StringMap): Leaf<V1ResourceRequirements> =>
  block<V1ResourceRequirements>({ requests, limits }, "CPU and memory of the container.");

const noAffinity = (): Leaf<V1Affinity> => block<V1Affinity>({}, "Affinity of the pods.");

/** What every pod of the chart has. */
export const podFields = (requests: StringMap, limits: StringMap, affinity = noAffinity()) => ({
  resources: resources(requests, limits),
  ...placementFields(affinity),
});

const placementFields = (affinity = noAffinity()) => ({
  podLabels: labels("Labels of the pods; win over `commonLabels`."),
  podAnnotations: annotations("Annotations of the pods; win over `commonAnnotations`."),
  priorityClassName: dnsName("", "PriorityClass of the pods."),
  nodeSelector: block<StringMap>({}, "Labels that a node must have.", { additionalProperties: LABEL_VALUE }),
  tolerations: block<V1Toleration[]>([], "Taints that the pods tolerate.", { items: { type: "object" } }),
  affinity,
});

/** Of pods for whose files the chart has no values of its own. */
export const volumeFields = (doc: string, mountsDoc: string) => ({
  extraVolumes: block<V1Volume[]>([], doc, {
    items: { type: "object", required: ["name"], properties: { name: { type: "string" } } },
  }),
  extraVolumeMounts: block<V1VolumeMount[]>([], mountsDoc, { items: { type: "object", required: ["name", "mountPath"] } }),
});

export const disruptionFields = (enabled: boolean, doc: string) =>
  section(doc, {
    enabled: bool(enabled, "Whether there is one."),
    maxUnavailable: int(1, "How many pods may be away at once.", { minimum: 0, maximum: INT32_MAX }),
  });

/** Not counting the pods that an upgrade replaces: the new ones would keep clear of them, and be together once they are gone. */
const spreadOverNodes = [
  {
    ...{ maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" },
    matchLabelKeys: ["pod-template-hash"],
  },
];

const ENV_NAME = "^[-._a-zA-Z][-._a-zA-Z0-9]*$";

/** What a service has that talks to the API server, besides what it has `own`. */
export const serviceSection = <Own extends Tree>(doc: string, replicasDoc: string, own: Own) =>
  plainServiceSection(doc, replicasDoc, {
    ...own,
    serviceAccount: section("The account as which it talks to the API server.", {
      create: bool(true, "Whether the chart makes the account. Otherwise `name` names one that exists."),
      name: dnsName("", "Name of the account; empty = the name of the Deployment."),
      annotations: annotations("Annotations of the account, such as those by which clouds map it to an identity of theirs."),
    }),
  });

/** What every service has, besides what it has `own`. */
export const plainServiceSection = <Own extends Tree>(doc: string, replicasDoc: string, own: Own, affinity = noAffinity()) =>
  section(doc, {
    replicas: int(2, replicasDoc, { minimum: 0, maximum: INT32_MAX }),
    ...own,
    extraEnv: block<V1EnvVar[]>([], "More environment variables. A name that the chart itself sets is refused.", {
      items: {
        type: "object",
        required: ["name"],
        properties: { name: { type: "string", pattern: ENV_NAME } },
      },
    }),
    ...podFields({ cpu: "50m", memory: "96Mi" }, { memory: "256Mi" }, affinity),
    topologySpreadConstraints: block<V1TopologySpreadConstraint[]>(
      spreadOverNodes,
      "How the pods spread over nodes and zones. Without a `labelSelector` a constraint counts this service's pods.",
      { items: { type: "object" } },
    ),
    pdb: disruptionFields(true, "The PodDisruptionBudget: how far a drain of nodes may go at once."),
    terminationGracePeriodSeconds: int(
      30,
      "How long a stopping pod may take, in seconds. The service stops taking work at once, and has all but 5 s of this to finish.",
      { minimum: 6, maximum: INT32_MAX },
    ),
  });

/** What the services will accept, so that Helm refuses the rest before anything is installed. */
export function contractSchema(schema: z.ZodType): Schema {
  const { $schema: _dialect, ...json } = z.toJSONSchema(schema, { io: "input", target: "draft-7" });
  return JSON.parse(JSON.stringify(json, (_key, value: unknown) => withoutPropertyNames(value))) as Schema;
}

/**
 * Helm's validator blames a random other value for a key that `propertyNames` refuses. Keys that can be counted become properties; the
 * services check the others themselves.
 */
function withoutPropertyNames(value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("propertyNames" in value)) return value;
  const { propertyNames, ...rest } = value;
  const { enum: keys } = propertyNames as { readonly enum?: readonly string[] };
  if (keys === undefined || !("additionalProperties" in rest)) return rest;
  const { additionalProperties: each } = rest;
  return { ...rest, properties: Object.fromEntries(keys.map((key) => [key, each])), additionalProperties: false };
}

/** The fields of a configuration of the services' as values, with their own defaults and descriptions. */
export function contractFields<Input extends object>(
  schema: z.ZodType<unknown, Input>,
): { [Key in keyof Required<Input>]: Leaf<NonNullable<Input[Key]>> } {
  const { properties } = contractSchema(schema);
  const fields = Object.entries(properties as { [key: string]: Schema }).map(
    ([key, { default: initial, description, ...rules }]) => [
      key,
      new Leaf(kindOf(rules), initial, sentence(String(description ?? "")), rules),
    ],
  );
  return Object.fromEntries(fields) as { [Key in keyof Required<Input>]: Leaf<NonNullable<Input[Key]>> };
}

function kindOf({ type }: Schema): Leaf<unknown>["kind"] {
  if (type === "integer") return "int";
  if (type === "boolean") return "bool";
  if (type === "string") return "string";
  if (type === "object" || type === "array") return "block";
  throw new TypeError(`a value of the type ${JSON.stringify(type)} cannot stand in a template`);
}

const sentence = (text: string): string => (text === "" || text.endsWith(".") ? text : `${text}.`);

/** How a part of the chart shows NATS who it is. */
export const natsAuthSection = (doc: string) =>
  section(doc, {
    existingSecret: dnsName("", "Name of the Secret, in the release's namespace."),
    credsKey: secretKey("", "Its key with a `.creds` file (JWT and seed)."),
    tokenKey: secretKey("", "Its key with a token."),
    nkeyKey: secretKey("", "Its key with the seed of an nkey."),
    user: text("", "User name, when `passwordKey` is set."),
    passwordKey: secretKey("", "Its key with the password of `user`."),
  });

export const natsTlsSection = (doc: string) =>
  section(doc, {
    existingSecret: dnsName("", "Name of the Secret, in the release's namespace."),
    caKey: secretKey("ca.crt", "Its key with the certificates of the authorities to trust; empty = those that Node.js trusts."),
    certKey: secretKey("", "Its key with the certificate to show, as `tls.crt`; empty = none is shown."),
    keyKey: secretKey("", "Its key with the private key of that certificate, as `tls.key`."),
  });

/** What only a worker's pods need; what the services need, too, is in the contract. */
export const workerPodFields = () => ({
  pullPolicy: pullPolicy(),
  imagePullSecrets: block<V1LocalObjectReference[]>([], "More Secrets for pulling its image, as `{name: …}`.", {
    items: { type: "object", required: ["name"], properties: { name: { type: "string" } } },
  }),
  command: block<string[]>([], "What the container runs, instead of the image's entrypoint.", { items: { type: "string" } }),
  args: block<string[]>([], "Arguments, instead of the image's.", { items: { type: "string" } }),
  env: block<StringMap>(
    {},
    "Environment variables, by name. A name that the chart itself sets is refused. No secrets: those come by `envFrom`.",
    namedBy(ENV_NAME, { type: "string" }),
  ),
  envFrom: block<V1EnvFromSource[]>([], "Secrets and ConfigMaps whose keys are variables, as `{secretRef: {name: …}}`.", {
    items: { type: "object" },
  }),
  ...volumeFields(
    "More volumes of the pods, such as a Secret whose keys are files. `tmp`, `nats-auth` and `nats-tls` are the chart's own names.",
    "Where the program finds them.",
  ),
  resources: section("CPU and memory of the container. What is given of the requests, or of the limits, replaces all of them.", {
    requests: block<StringMap>({ cpu: "100m", memory: "128Mi" }, "What a pod reserves."),
    limits: block<StringMap>({ memory: "512Mi" }, "What it may take at most."),
  }),
  serviceAccountName: dnsName("", "Account of the pods, by which clouds may know them; empty = `default`. No token is mounted."),
  ...placementFields(),
});

/** Not `propertyNames`: Helm's validator then blames a random other value. */
export const namedBy = (pattern: string, schema: Schema): Schema => ({
  patternProperties: { [pattern]: schema },
  additionalProperties: false,
});
