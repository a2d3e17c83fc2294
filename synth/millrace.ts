import { App } from "cdk8s";
import { config } from "./charts/config.ts";
import { dispatcher } from "./charts/dispatcher.ts";
import { monitor } from "./charts/monitor.ts";
import { namedTemplates } from "./charts/named-templates.ts";
import { nats, storeFitsVolume } from "./charts/nats.ts";
import { notes } from "./charts/notes.ts";
import type { HelmChart } from "./helm/chart-files.ts";
import { ExpressionResolver } from "./helm/resolver.ts";
import { instanceIsLabel } from "./release.ts";
import { values } from "./values.ts";

const readme = `# Millrace

Event-driven jobs for Kubernetes: publish a message, a Kubernetes Job does the work, and the message is gone only when the outcome is recorded.

\`\`\`sh
helm install millrace charts/millrace --namespace millrace --create-namespace
\`\`\`

The chart needs Kubernetes 1.29 or newer and Helm 4. It brings its own NATS server and has no other dependencies, no cluster-wide
objects and no CRDs; it works in any namespace, several times in one cluster, and under the Pod Security Standard *restricted*.

By default Jobs run in the release's namespace. To keep them apart, create a namespace for them and set \`jobs.namespace\`.
`;

/** The whole chart, as an object. */
export function millrace(): HelmChart {
  const app = new App({ resolvers: [new ExpressionResolver()] });
  config(app);
  nats(app);
  dispatcher(app);
  monitor(app);
  return {
    about: {
      name: "millrace",
      description: "Event-driven jobs for Kubernetes: a message is gone only when its outcome is recorded.",
      type: "application",
      version: "0.1.0",
      appVersion: "0.1.0",
      // `-0` lets versions with a suffix match, as those of managed clusters: v1.33.5-gke.1000.
      kubeVersion: ">=1.29.0-0",
      keywords: ["jobs", "queue", "nats", "jetstream", "event-driven"],
      annotations: { "artifacthub.io/license": "Apache-2.0" },
    },
    banner: "Generated from synth/ by `npm run chart`. Do not edit.",
    app,
    values,
    helpers: namedTemplates,
    checks: [instanceIsLabel, storeFitsVolume],
    notes,
    readme,
  };
}
