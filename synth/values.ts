import type { V1Affinity, V1LocalObjectReference, V1NetworkPolicyPeer } from "@kubernetes/client-node";
import { queueConfig, templateConfig } from "../libs/contract/queue-config.ts";
import { workerConfig } from "../libs/contract/work-config.ts";
import { block, bool, entries, int, oneOf, openSection, references, section, type Tree, text } from "./helm/values.ts";
import { nearKeda } from "./near-keda.ts";
import {
  annotations,
  contractFields,
  contractSchema,
  DNS_LABEL,
  disruptionFields,
  dnsName,
  duration,
  imageFields,
  labels,
  namedBy,
  natsAuthSection,
  natsTlsSection,
  plainServiceSection,
  podFields,
  promDuration,
  secretKey,
  serviceSection,
  size,
  TAG,
  volumeFields,
  workerPodFields,
} from "./value-fields.ts";

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

/** Of queues and workers (rule N1). */
const NAME = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$";

const workerFields = {
  ...contractFields(workerConfig),
  // Rights are the chart's matter, and the contract knows nothing of them.
  deletionCost: bool(
    false,
    "Whether the monitor marks busy pods, so that idle ones go first. It then may `patch` every pod of the release's namespace, NATS' and strangers', too: a Role cannot name pods.",
  ),
};
/** What the services want to know of a worker. */
export const workerConfigFields = Object.keys(workerFields);

/** Everything a user may set. The order is the order of values.yaml. */
export const values = {
  global: openSection("Shared with the other charts of a release.", {
    imageRegistry: text("", "Registry of all images; wins over each image's own `registry`."),
    imagePullSecrets: block<V1LocalObjectReference[]>(
      [],
      "Secrets for pulling the images of Millrace and its workers, as `{name: …}`.",
      {
        items: { type: "object", required: ["name"], properties: { name: { type: "string" } } },
      },
    ),
  }),
  nameOverride: text("", "Replaces the chart's name in labels and names.", { pattern: `^(${DNS_LABEL})?$` }),
  // Services are named with it, and a Service's name begins with a letter.
  fullnameOverride: text("", "Replaces the whole prefix of all object names. Begins with a letter.", {
    pattern: "^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$",
  }),
  commonLabels: labels("Labels of every object and every pod; the chart's own win. They are in no selector, so they may change."),
  commonAnnotations: annotations("Annotations of every object; the chart's own win."),
  image: section(
    "The image of the services.",
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
    namedBy(NAME, contractSchema(queueConfig)),
  ),
  templates: block(
    { hello },
    "Job templates by name. `params` is the JSON Schema of a message's params, put in as `$(params.name)`.",
    namedBy(`^${DNS_LABEL}$`, contractSchema(templateConfig)),
  ),
  workers: entries(
    "Workers by name: programs made with the SDK that take messages of a subject of their own, on as many pods as there is work, or on none.",
    NAME,
    {
      image: text("", "Its image, such as `ghcr.io/acme/resize:1.2`. `global.imageRegistry` does not apply to it.", {
        pattern: "^\\S+$",
      }),
      ...workerFields,
      ...workerPodFields(),
    },
    ["image", "subject"],
  ),
  workerNats: section("How workers show NATS who they are, when not as the services do: their code is not Millrace's.", {
    auth: natsAuthSection("A Secret as in `nats.auth`, which then is mounted in place of that one."),
    tls: natsTlsSection("A Secret as in `nats.tls`, which then is mounted in place of that one."),
  }),
  keda: section("KEDA gives workers their pods, from none to `max` and back. It is not part of the chart.", {
    enabled: bool(
      true,
      "Whether there are ScaledObjects for KEDA. Otherwise a worker has `min` pods, but at least one, all the time.",
    ),
    pollingInterval: int(
      2,
      "Every how many seconds KEDA asks about work by itself: the only way with `trigger: poll`, a second one with `trigger: push`.",
      { minimum: 1, maximum: 3600 },
    ),
  }),
  rbac: section(
    "What the services may do: Roles in the release's and in the job namespaces, and one ClusterRole, which allows only to read the job namespaces' own objects.",
    {
      create: bool(
        true,
        "Whether the chart makes them, with their bindings. Otherwise somebody has to grant the same to the services' accounts; the notes of the installation list it.",
      ),
      namespaceReader: bool(
        true,
        "Whether there is that ClusterRole. Without it the monitor cannot tell a deleted namespace from a forbidden one, and Jobs that ran in a deleted one stay `running` until it exists again.",
      ),
    },
  ),
  dispatcher: serviceSection(
    "The dispatcher makes Jobs of messages.",
    "Number of dispatchers; all of them work, unless `leaderElection` is set.",
    { leaderElection: bool(false, "Whether one dispatcher works at a time, while the others stand by.") },
  ),
  monitor: serviceSection(
    "The monitor watches Jobs and settles their messages.",
    "Number of monitors. One leads, the others stand by; two leaders would do no harm, for every write is a compare-and-swap.",
    {},
  ),
  scaler: plainServiceSection(
    "The scaler tells KEDA when workers have work. It is there when there are workers and `keda.enabled` is set.",
    "Number of scalers; KEDA talks to one of them.",
    {},
    block<V1Affinity>(
      nearKeda,
      "Affinity of the pods. By default one is on the node of KEDA's operator, which then is not lost without KEDA, and the others elsewhere. What you set is laid over that; `podAffinity: null` takes a part of it away.",
    ),
  ),
  nats: section("NATS holds all messages and records: a server of the release's own, or one that exists.", {
    enabled: bool(
      true,
      "Whether the chart runs a server: one replica, with a disk of its own. Otherwise `nats.external.url` names one.",
    ),
    external: section(
      "A NATS server that is not part of the release. JetStream must be on; at least 2.12.10, or 2.14.2 of the newer line.",
      {
        url: text(
          "",
          "Its address, such as `nats://nats.example.org:4222`; several separated by commas. Without user and password.",
          {
            pattern: "^((nats|tls)://[^\\s,@/]+(,(nats|tls)://[^\\s,@/]+)*)?$",
          },
        ),
        streamReplicas: int(1, "On how many of its servers each stream is kept.", { minimum: 1, maximum: 5 }),
      },
    ),
    auth: natsAuthSection(
      "How the services show NATS who they are: one Secret, and of the four ways the one whose key is named. Files, never environment values.",
    ),
    tls: natsTlsSection("How the services check NATS' certificate, and show one of their own."),
    monitoring: section("NATS' monitoring port, which KEDA asks about workers with `trigger: poll`.", {
      endpoint: text(
        "",
        "Its host and port, such as `nats-headless.nats.svc:8222`; empty = the release's own server. Of several servers the headless Service: KEDA asks one after the other.",
        { pattern: "^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:[1-9][0-9]{0,4})?$" },
      ),
      account: text(
        "$G",
        "The account that holds the streams; `$G` is that of a server without accounts. Of accounts by JWT the public key.",
        { minLength: 1 },
      ),
    }),
    image: section(
      "The image of nats-server.",
      imageFields(
        "nats",
        text("2.15.2", "Tag of the image. At least 2.12.10, or 2.14.2 of the newer line.", { pattern: `^${TAG}$` }),
      ),
    ),
    storage: section("The volume of JetStream. It stays when the release is uninstalled.", {
      size: size("10Gi", "Size of the volume. Kubernetes does not let a chart change it later."),
      storageClassName: dnsName("", "StorageClass of the volume; empty = the cluster's default."),
    }),
    maxFileStore: size(
      "8Gi",
      "How much JetStream may store on disk. Less than `nats.storage.size`; of an external NATS, what the account may store.",
    ),
    maxMemoryStore: size("64Mi", "How much memory streams in memory may take."),
    extraConfig: text(
      "",
      "Appended to the server's configuration, such as an `authorization` block. It is in a ConfigMap: put in only hashed passwords.",
    ),
    ...volumeFields("More volumes of the server's pod, such as a Secret with its certificate.", "Where the server finds them."),
    ...podFields({ cpu: "100m", memory: "128Mi" }, { memory: "1Gi" }),
    pdb: disruptionFields(
      false,
      "The PodDisruptionBudget of the one server. With `maxUnavailable: 0` its node cannot be drained before somebody removes the pod by hand.",
    ),
  }),
  tracing: section("Traces of jobs, from the message to the outcome, sent to an OpenTelemetry collector.", {
    endpoint: text(
      "",
      "Address of the collector's receiver for OTLP over HTTP, such as `http://otel-collector.monitoring:4318`; empty = nothing is traced. Without user and password.",
      {
        pattern:
          "^(https?://[A-Za-z0-9.-]+(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}))?(/[A-Za-z0-9._/-]*)?)?$",
      },
    ),
    samplePercent: int(
      100,
      "Of how many in a hundred jobs, when their message says nothing of a trace. What it says always holds.",
      {
        minimum: 0,
        maximum: 100,
      },
    ),
    headers: section("Headers for the collector, such as credentials: a file with one `Name: value` a line.", {
      existingSecret: dnsName("", "Name of the Secret, in the release's namespace."),
      key: secretKey("headers", "Its key with the headers."),
    }),
  }),
  metrics: section("The metrics of the services, which every pod of them serves as `/metrics` on its port `http`.", {
    serviceMonitor: section(
      "For the Prometheus Operator: a ServiceMonitor for each service, and the headless Service that it needs. The cluster must have the operator's CRDs.",
      {
        enabled: bool(false, "Whether there are ServiceMonitors."),
        interval: promDuration("", "How often Prometheus asks; empty = its own default."),
        scrapeTimeout: promDuration(
          "",
          "How long it waits for the answer, not longer than the interval; empty = its own default.",
        ),
        labels: labels(
          "Labels of the ServiceMonitors, by which a Prometheus selects them, as `release: kube-prometheus-stack`; `commonLabels` win.",
        ),
        relabelings: block<object[]>([], "Changes of the labels of the targets, before they are asked.", {
          items: { type: "object" },
        }),
        metricRelabelings: block<object[]>([], "Changes of the labels of the samples, and which of them are dropped.", {
          items: { type: "object" },
        }),
      },
    ),
  }),
  networkPolicy: section("Who may reach the pods. It has an effect only where the cluster's network enforces NetworkPolicies.", {
    enabled: bool(false, "Whether only the release's pods may reach its NATS server. Producers then need to be in `natsFrom`."),
    natsFrom: block<V1NetworkPolicyPeer[]>(
      [],
      "Who else may reach the NATS server, as the peers of a NetworkPolicy: producers, and KEDA for workers with `trigger: poll`.",
      { items: { type: "object" } },
    ),
  }),
  test: section("What `helm test` does: it publishes a message and waits until its job has succeeded.", {
    enabled: bool(true, "Whether there is such a test."),
    subject: text("jobs.default.hello", "The message's subject.", { pattern: "^jobs\\.[^\\s.*>]+(\\.[^\\s.*>]+)+$" }),
    body: text('{"template":"hello","params":{"name":"helm test"}}', "The message."),
  }),
  extraObjects: block<unknown[]>(
    [],
    "More objects for the release: as objects, or as texts. Each goes through `tpl`, so it may hold expressions of Helm's.",
    { items: { anyOf: [{ type: "object", required: ["apiVersion", "kind"] }, { type: "string" }] } },
  ),
} satisfies Tree;

export const v = references(values);
