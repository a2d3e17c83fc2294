import { App } from "cdk8s";
import { stringify } from "yaml";
import { config } from "./charts/config.ts";
import { dispatcher } from "./charts/dispatcher.ts";
import { monitor } from "./charts/monitor.ts";
import { namedTemplates } from "./charts/named-templates.ts";
import { nats, storeFitsVolume } from "./charts/nats.ts";
import { natsClientChecks } from "./charts/nats-client.ts";
import { notes } from "./charts/notes.ts";
import { scaler } from "./charts/scaler.ts";
import { test } from "./charts/test.ts";
import { tracingChecks } from "./charts/tracing.ts";
import { worker } from "./charts/worker.ts";
import type { HelmChart } from "./helm/chart-files.ts";
import { annotateAll } from "./helm/documents.ts";
import { ExpressionResolver } from "./helm/resolver.ts";
import { instanceIsLabel } from "./release.ts";
import { v, values } from "./values.ts";

const readme = `# Millrace

Event-driven jobs for Kubernetes: publish a message, a Kubernetes Job does the work, and the message is gone only when the outcome is recorded.

\`\`\`sh
helm install millrace charts/millrace --namespace millrace --create-namespace
\`\`\`

The chart needs Kubernetes 1.29 or newer and Helm 4 or 3 (tested: 4.3 and 3.22). It has no dependencies and no CRDs; it works in
any namespace, several times in one cluster, and under the Pod Security Standard *restricted*. \`helm test millrace -n millrace\` publishes a
message and waits until its job has succeeded.

By default Jobs run in the release's namespace. To keep them apart, create a namespace for them and set \`jobs.namespace\`.

## Workers

A worker is a program of yours, made with the SDK (\`@millrace/worker\`), that takes messages of a subject of its own. Each is an entry of \`workers\`:

\`\`\`yaml
workers:
  resize:
    image: ghcr.io/acme/resize:1.2
    subject: images.resize
    concurrency: 4         # messages at once in one pod
    max: 20                # pods; without work there is none
    timeout: 2m            # of one message
    envFrom: [{ secretRef: { name: resize } }]
\`\`\`

becomes the Deployment and the ScaledObject \`<release>-worker-resize\`, pods with the label \`app: resize\`, and a place on the stream \`WORK\` for its
messages. [KEDA](https://keda.sh) gives it its pods: install KEDA 2 as a release of its own. With \`keda.enabled: false\` workers do without it, each with as
many pods as its \`min\` says, and at least one.

- \`trigger: push\` (the default): Millrace's scaler tells KEDA of a message when it comes. \`trigger: poll\`: KEDA asks NATS' monitoring port every
  \`keda.pollingInterval\` seconds, without the scaler. Of a NATS that is not part of the release \`nats.monitoring\` says where that is.
- \`timeout\`, \`concurrency\` and \`retry\` win over what the program says itself, with their defaults, too: KEDA and the grace period go by them.
- There is a pod for every \`lagThreshold\` messages that wait or are being worked on. Sleeping retries do not count until they are due.
- A pod that is to go finishes what it has: its grace period is \`timeout\` and 30 s.
- \`deletionCost: true\` lets idle pods go before busy ones. The monitor then may \`patch\` pods in the release's namespace. A Role cannot
  name them, for their names are random: it is all pods there, NATS' and those of other programs, too.
- Credentials come as variables by \`envFrom\`, or as files: \`extraVolumes: [{ name: r2, secret: { secretName: image-jobs } }]\`,
  \`extraVolumeMounts: [{ name: r2, mountPath: /etc/r2 }]\` and, for a program that reads it, \`env: { R2_SECRET_ACCESS_KEY_FILE: /etc/r2/R2_SECRET_ACCESS_KEY }\`.
- One scaler is on the node of KEDA's operator when the scheduler can have it so (\`scaler.affinity\`), and KEDA asks that one (from Kubernetes 1.34):
  a node that is lost then takes KEDA along, which would wait for its scaler for a quarter of an hour.
- A ScaledObject has no \`fallback\`: while nobody knows how much work there is, a worker keeps the pods that it has.
- Pods are restricted as the Pod Security Standard means it: user 65532, a read-only root filesystem, \`/tmp\` to write to, and no token of the API server.

A worker's code is not Millrace's, so let it be somebody else for NATS: \`workerNats.auth\` names a Secret as \`nats.auth\` does, which only the workers'
pods get, instead of that of the services. It needs the consumers \`worker-…\` of the streams \`WORK\` and \`WORK_RETRY\`, the bucket \`millrace_claims\`, to
publish to \`work.>\` and \`dlq.work.>\`, and whatever its own code publishes; it needs nothing of \`JOBS\`, of \`EVENTS\` and of the records.

## Rights

The dispatcher and the monitor have accounts of their own, with Roles in the release's namespace and in the job namespaces; the scaler and workers may do nothing.
With workers the monitor may also read the pods of the release's namespace, to hand back what a dead one had. One right is cluster-wide: the monitor may
\`get\` the Namespace objects of the job namespaces, by name, and nothing else. With a namespace go its Roles, and the API server says "forbidden" of what
was in it; with this right the monitor can tell that it is gone, and dead-letters the jobs that ran there. Who may not make ClusterRoles sets
\`rbac.namespaceReader: false\`: jobs that ran in a deleted namespace then stay \`running\` until it exists again.

With \`rbac.create: false\` the chart makes none of it; the notes after the installation list what to grant to whom.

## Metrics

Every pod of the services serves \`/metrics\` on port 8080. For the Prometheus Operator:

\`\`\`yaml
metrics:
  serviceMonitor:
    enabled: true
    labels: { release: kube-prometheus-stack }   # whatever your Prometheus selects
\`\`\`

Workers' pods serve theirs there, too. Without the operator, \`dispatcher.podAnnotations\`, \`monitor.podAnnotations\`, … take what your Prometheus looks for.

## NATS

The chart runs one NATS server, without credentials and with one volume: good for a start, and for whom a pause is no harm. For high
availability use a NATS of your own:

\`\`\`yaml
nats:
  enabled: false
  external:
    url: tls://nats.example.org:4222
    streamReplicas: 3
  auth:
    existingSecret: millrace-nats   # a Secret in the release's namespace
    credsKey: millrace.creds        # or tokenKey, or nkeyKey, or user and passwordKey
  tls:
    existingSecret: nats-ca         # its key ca.crt
\`\`\`

Credentials are mounted as files, and only the keys that are named. The same \`nats.auth\` serves the chart's own server, when it asks for them.
It knows passwords and tokens by their bcrypt hash (\`nats server passwd\`) and nkeys by their public half, so that nothing in the ConfigMap is secret:

\`\`\`yaml
nats:
  extraConfig: |
    authorization {
      users: [{ user: millrace, password: "$2a$11$…" }]
    }
  auth:
    existingSecret: millrace-nats
    user: millrace
    passwordKey: password
\`\`\`
`;

const VERSION = "0.1.0";

const images = [
  { name: "millrace", image: `${values.image.values.repository.initial}:${VERSION}` },
  { name: "nats", image: `${values.nats.values.image.values.repository.initial}:${values.nats.values.image.values.tag.initial}` },
];

/** The whole chart, as an object. */
export function millrace(): HelmChart {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  config(app);
  nats(app);
  const checks = [...dispatcher(app), ...monitor(app), ...scaler(app), ...worker(app)];
  test(app);
  annotateAll(app, v.commonAnnotations);
  return {
    about: {
      name: "millrace",
      description: "Event-driven jobs for Kubernetes: a message is gone only when its outcome is recorded.",
      type: "application",
      version: VERSION,
      appVersion: VERSION,
      // `-0` lets versions with a suffix match, as those of managed clusters: v1.33.5-gke.1000.
      kubeVersion: ">=1.29.0-0",
      keywords: ["jobs", "queue", "nats", "jetstream", "event-driven"],
      maintainers: [{ name: "The authors of Millrace" }],
      annotations: {
        "artifacthub.io/license": "Apache-2.0",
        "artifacthub.io/category": "streaming-messaging",
        "artifacthub.io/prerelease": "true",
        "artifacthub.io/images": stringify(images),
        "artifacthub.io/changes": stringify([{ kind: "added", description: "First version." }]),
      },
    },
    banner: "Generated from synth/ by `npm run chart`. Do not edit.",
    app,
    values,
    helpers: namedTemplates,
    checks: [instanceIsLabel, ...natsClientChecks, ...tracingChecks, storeFitsVolume, ...checks],
    extraObjects: v.extraObjects,
    notes,
    readme,
  };
}
