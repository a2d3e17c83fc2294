import type { V1Affinity, V1LocalObjectReference, V1ResourceRequirements, V1Toleration } from "@kubernetes/client-node";
import { z } from "zod";
import { queueConfig, templateConfig } from "../libs/contract/queue-config.ts";
import { block, int, type Leaf, oneOf, openSection, references, type Schema, section, type Tree, text } from "./helm/values.ts";

const DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
const TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";

const duration = (initial: string, doc: string): Leaf<string> => text(initial, doc, { pattern: "^([0-9]+(ms|s|m|h|d))+$" });

/** Only binary units: the chart compares sizes, and NATS reads them too. */
const size = (initial: string, doc: string): Leaf<string> => text(initial, doc, { pattern: "^[1-9][0-9]*(Ki|Mi|Gi|Ti)$" });

type StringMap = { [key: string]: string };

const imageFields = (repository: string, tag: Leaf<string>) => ({
  registry: text("", "Registry of the image. `global.imageRegistry` wins over it; empty = the container runtime's default."),
  repository: text(repository, "Repository of the image.", { minLength: 1 }),
  tag,
  digest: text("", "Digest (`sha256:…`) of the image; wins over the tag.", { pattern: "^(sha256:[0-9a-f]{64})?$" }),
  pullPolicy: oneOf("IfNotPresent", "When the kubelet pulls the image.", ["IfNotPresent", "Always", "Never"]),
});

const placementFields = () => ({
  nodeSelector: block<StringMap>({}, "Labels that a node must have.", { additionalProperties: { type: "string" } }),
  tolerations: block<V1Toleration[]>([], "Taints that the pods tolerate.", { items: { type: "object" } }),
  affinity: block<V1Affinity>({}, "Affinity of the pods."),
});

const resources = (requests: StringMap, limits: StringMap): Leaf<V1ResourceRequirements> =>
  block<V1ResourceRequirements>({ requests, limits }, "CPU and memory of the container.");

const serviceSection = (doc: string, replicasDoc: string) =>
  section(doc, {
    replicas: int(1, replicasDoc, { minimum: 0 }),
    resources: resources({ cpu: "50m", memory: "96Mi" }, { memory: "256Mi" }),
    podAnnotations: block<StringMap>({}, "Annotations of the pods.", { additionalProperties: { type: "string" } }),
    ...placementFields(),
    terminationGracePeriodSeconds: int(30, "How long a stopping pod may take to finish what it has begun, in seconds.", {
      minimum: 0,
    }),
  });

/** What the services will accept, so that Helm refuses the rest before anything is installed. */
function contractSchema(schema: z.ZodType): Schema {
  const { $schema: _dialect, ...json } = z.toJSONSchema(schema, { io: "input", target: "draft-7" });
  return withoutPropertyNames(json as Schema);
}

/** Helm's validator blames a random other value for a key that `propertyNames` refuses; the services check keys themselves. */
function withoutPropertyNames(schema: Schema): Schema {
  const text = JSON.stringify(schema, (key, value: unknown) => (key === "propertyNames" ? undefined : value));
  return JSON.parse(text) as Schema;
}

/** Not `propertyNames`: Helm's validator then blames a random other value. */
const namedBy = (pattern: string, schema: Schema): Schema => ({
  patternProperties: { [pattern]: schema },
  additionalProperties: false,
});

/** The template of the quick start. A parameter reaches the script as `$1`: the container runs `command` followed by `args`. */
const hello = {
  params: {
    type: "object",
    properties: { name: { type: "string", maxLength: 100 } },
    required: ["name"],
    additionalProperties: false,
  },
  image: "busybox:latest",
  command: ["/bin/sh", "-c", 'echo "hello, $1"', "hello"],
  args: ["$(params.name)"],
};

/** Everything a user may set. The order is the order of values.yaml. */
export const values = {
  global: openSection("Shared with the other charts of a release.", {
    imageRegistry: text("", "Registry of all images; wins over each image's own `registry`."),
    imagePullSecrets: block<V1LocalObjectReference[]>([], "Secrets for pulling the images of Millrace itself, as `{name: …}`.", {
      items: { type: "object", required: ["name"], properties: { name: { type: "string" } } },
    }),
  }),
  nameOverride: text("", "Replaces the chart's name in labels and names.", { pattern: `^(${DNS_LABEL})?$` }),
  fullnameOverride: text("", "Replaces the whole prefix of all object names.", { pattern: `^(${DNS_LABEL})?$` }),
  image: section(
    "The image of the dispatcher and the monitor.",
    imageFields("millrace/millrace", text("", "Tag of the image; empty = the chart's appVersion.", { pattern: `^(${TAG})?$` })),
  ),
  logLevel: oneOf("info", "How much the services log.", ["trace", "debug", "info", "warn", "error"]),
  history: duration(
    "720h",
    "How long events, dead letters, job records and logs are kept. Longer than the longest deadline and retry.",
  ),
  ackWait: duration("120s", "How long NATS waits for a sign of life of a message before it delivers it again."),
  sweepInterval: duration(
    "30s",
    "How often the monitor compares its records with the cluster; what a watch missed is found by then.",
  ),
  unknownQueueAfter: duration("10m", "After how long a message that no queue takes goes to the DLQ."),
  jobs: section(
    "Where Millrace may create Jobs. It gets a Role in each of these namespaces and in no other; the namespaces must exist.",
    {
      namespace: text("", "Namespace of Jobs whose queue names none; empty = the release's namespace.", {
        pattern: `^(${DNS_LABEL})?$`,
      }),
      extraNamespaces: block<string[]>([], "More namespaces that queues and messages may name.", {
        items: { type: "string", pattern: `^${DNS_LABEL}$` },
      }),
    },
  ),
  queues: block(
    { default: { slots: 100 } },
    "Queues by name. A message to `jobs.<queue>.<type>` belongs to it; `slots` is how many of its Jobs live at once.",
    namedBy("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", contractSchema(queueConfig)),
  ),
  templates: block(
    { hello },
    "Job templates by name. `params` is the JSON Schema of a message's params, put in as `$(params.name)`.",
    namedBy(`^${DNS_LABEL}$`, contractSchema(templateConfig)),
  ),
  dispatcher: serviceSection("The dispatcher makes Jobs of messages.", "Number of dispatchers; all of them work."),
  monitor: serviceSection("The monitor watches Jobs and settles their messages.", "Number of monitors."),
  nats: section("The NATS server that holds all messages and records. One replica, with a disk of its own.", {
    image: section(
      "The image of nats-server.",
      imageFields(
        "nats",
        text("2.15.2", "Tag of the image. At least 2.12.10, or 2.14.2 of the newer line.", { pattern: `^${TAG}$` }),
      ),
    ),
    storage: section("The volume of JetStream. It stays when the release is uninstalled.", {
      size: size("10Gi", "Size of the volume. Kubernetes does not let a chart change it later."),
      storageClassName: text("", "StorageClass of the volume; empty = the cluster's default."),
    }),
    maxFileStore: size("8Gi", "How much of the volume JetStream may fill. Less than `nats.storage.size`."),
    maxMemoryStore: size("64Mi", "How much memory streams in memory may take."),
    resources: resources({ cpu: "100m", memory: "128Mi" }, { memory: "1Gi" }),
    ...placementFields(),
  }),
} satisfies Tree;

export const v = references(values);
