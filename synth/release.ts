import { type App, Chart } from "cdk8s";
import type { Check } from "./helm/chart-files.ts";
import { spread } from "./helm/collections.ts";
import { argument, type Expression, expressionOf, include, orElse, raw } from "./helm/expression.ts";
import type { StringMap } from "./value-fields.ts";
import { v } from "./values.ts";

export const release = {
  name: raw("$.Release.Name"),
  namespace: raw("$.Release.Namespace"),
  /** What keeps two releases apart in whatever they share. */
  instance: `${raw("$.Release.Namespace")}.${raw("$.Release.Name")}`,
};

/** Every Job carries the instance as a label. */
export const instanceIsLabel: Check = {
  unless: `le (len (${expressionOf(release.instance).code})) 63`,
  message: `"${release.instance}", the namespace and the name of the release together, is longer than the 63 characters of a label. Choose a shorter release name.`,
};

const fullname = include("millrace.fullname");
export const appVersion = raw("$.Chart.AppVersion");

export type Component = "nats" | "dispatcher" | "monitor" | "scaler" | "worker" | "config" | "test";

/** The name of one of the release's objects. */
export const named = (suffix: string): string => `${fullname}-${suffix}`;

export const jobNamespaces = include("millrace.jobNamespaces");
export const jobNamespaceList = raw(`splitList "," (${jobNamespaces.code})`);
export const defaultJobNamespace = orElse(v.jobs.namespace, release.namespace);

/** What a selector may hold: it never changes in the life of a release. Release names are unique in a namespace. */
export const selectorLabels = (component: Component) => ({
  ...releaseLabels,
  "app.kubernetes.io/component": component,
});

/** All pods of the release. */
export const releaseLabels = {
  "app.kubernetes.io/name": `${include("millrace.name")}`,
  "app.kubernetes.io/instance": `${release.name}`,
};

const ownLabels = (component: Component) => ({
  ...selectorLabels(component),
  "app.kubernetes.io/part-of": "millrace",
  "app.kubernetes.io/managed-by": `${raw("$.Release.Service")}`,
});

/** Pods do not carry the version: an upgrade that changes nothing else of NATS must not restart it. */
export const podLabels = (component: Component, ...users: Expression<StringMap>[]) => ({
  ...ownLabels(component),
  ...spread(...users, v.commonLabels),
});

export const podAnnotations = (...users: Expression<StringMap>[]) => spread(...users, v.commonAnnotations);

/** A text for an environment variable or an argument, where the kubelet would put another variable's value in place of a `$(NAME)`. */
export const unexpanded = (text: Expression<string>): Expression<string> => raw(`${argument(text)} | replace "$" "$$"`);

/** A part of the chart: one template file, whose objects carry the component's labels. */
export function part(app: App, component: Component): Chart {
  return new Chart(app, component, {
    namespace: `${release.namespace}`,
    labels: {
      ...ownLabels(component),
      "app.kubernetes.io/version": `${appVersion}`,
      "helm.sh/chart": `${include("millrace.chart")}`,
      ...spread(v.commonLabels),
    },
  });
}

type ImageValues = {
  registry: Expression<string>;
  repository: Expression<string>;
  tag: Expression<string>;
  digest: Expression<string>;
};

export function imageOf(image: ImageValues): Expression<string> {
  return include("millrace.image", {
    registry: orElse(v.global.imageRegistry, image.registry),
    repository: image.repository,
    tag: image.tag,
    digest: image.digest,
  });
}

/** The image of the services, the command and the test. */
export const productImage = imageOf({ ...v.image, tag: orElse(v.image.tag, appVersion) });

/** Pod Security Standard "restricted", for images that run as anybody. The group may read mounted Secrets, and write volumes. */
export const RESTRICTED_POD = {
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  fsGroup: 65532,
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
};

export const RESTRICTED_CONTAINER = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};
