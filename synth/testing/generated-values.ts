import fc from "fast-check";
import { valuesSchema } from "../helm/values-files.ts";
import type { Json } from "../helm/yaml.ts";
import { values } from "../values.ts";
import { consistent, consistentFields } from "./consistent.ts";
import { type Overrides, schemaValues } from "./schema-values.ts";

export type GeneratedValues = { [key: string]: Json | undefined };

const schema = valuesSchema(values);

/** Anything that the schema and the chart's checks accept, whether or not an API server would. */
export const acceptedValues: fc.Arbitrary<GeneratedValues> = schemaValues(schema, {
  ...consistentFields,
  ...Object.assign(
    {},
    ...["nats", "workers.[]"].map((path) => ({
      [`${path}.extraVolumes`]: fc.constant([{ name: "more", emptyDir: {} }]),
      [`${path}.extraVolumeMounts`]: fc.constant([{ name: "more", mountPath: "/more" }]),
    })),
  ),
}).map((found) => consistent(found as GeneratedValues));

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}[a-z0-9]$/u);
const labelKey = fc.tuple(fc.constantFrom("", "example.org/", "a.b-c.example/"), name).map((parts) => parts.join(""));
const labelValue = fc.oneof(fc.constantFrom("", "1", "1e3", "yes", "0x1f", "1.10", "null", "2026-01-01"), name);
const map = (keys: fc.Arbitrary<string>, texts: fc.Arbitrary<string>): fc.Arbitrary<Json> =>
  fc.dictionary(keys, texts, { maxKeys: 3, noNullPrototype: true });
const anyText = fc.string({ unit: "grapheme", maxLength: 20 });

const quantity = (units: string[]) =>
  fc.tuple(fc.integer({ min: 1, max: 8 }), fc.constantFrom(...units)).map((parts) => parts.join(""));
const resources: fc.Arbitrary<Json> = fc.record({
  requests: fc.record({ cpu: quantity(["m", "0m"]), memory: quantity(["Mi", "0Mi"]) }),
  limits: fc.record({ cpu: fc.oneof(quantity([""]), fc.integer({ min: 1, max: 8 })), memory: quantity(["Gi", "e9"]) }),
});

const toleration: fc.Arbitrary<Json> = fc.oneof(
  fc.record({
    key: labelKey,
    operator: fc.constant("Equal"),
    value: name,
    effect: fc.constantFrom("NoSchedule", "PreferNoSchedule"),
  }),
  fc.record({ key: labelKey, operator: fc.constant("Exists"), effect: fc.constant("NoExecute"), tolerationSeconds: fc.nat() }),
  fc.constant({ operator: "Exists" }),
);

const terms = fc.array(
  fc.record({
    key: labelKey,
    operator: fc.constantFrom("In", "NotIn"),
    values: fc.array(labelValue, { minLength: 1, maxLength: 3 }),
  }),
  {
    minLength: 1,
    maxLength: 2,
  },
);
const affinity: fc.Arbitrary<Json> = fc.oneof(
  fc.constant({}),
  terms.map((matchExpressions) => ({
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions }] } },
  })),
  fc.integer({ min: 1, max: 100 }).map((weight) => ({
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight, podAffinityTerm: { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels: { app: "x" } } } },
      ],
    },
  })),
);

const constraints = fc.uniqueArray(
  fc.record({
    maxSkew: fc.integer({ min: 1, max: 1_000_000 }),
    topologyKey: fc.constantFrom("kubernetes.io/hostname", "topology.kubernetes.io/zone"),
    whenUnsatisfiable: fc.constantFrom("ScheduleAnyway", "DoNotSchedule"),
  }),
  { selector: ({ topologyKey, whenUnsatisfiable }) => `${topologyKey} ${whenUnsatisfiable}`, maxLength: 3 },
);

const peer: fc.Arbitrary<Json> = fc.oneof(
  map(labelKey, labelValue).map((matchLabels) => ({ namespaceSelector: { matchLabels } })),
  map(labelKey, labelValue).map((matchLabels) => ({ podSelector: { matchLabels } })),
  fc.nat(255).map((n) => ({ ipBlock: { cidr: `10.${n}.0.0/16` } })),
);

const pullSecrets = fc.uniqueArray(
  name.map((secret) => ({ name: secret })),
  { selector: (secret) => secret.name, maxLength: 2 },
);

const secretKey = fc.oneof(fc.constant(""), fc.stringMatching(/^[a-z][-._a-zA-Z0-9]{0,8}$/u));

const podOverrides = (path: string): Overrides => ({
  [`${path}.resources`]: resources,
  [`${path}.podLabels`]: map(labelKey, labelValue),
  [`${path}.podAnnotations`]: map(labelKey, anyText),
  [`${path}.nodeSelector`]: map(labelKey, labelValue),
  [`${path}.tolerations`]: fc.array(toleration, { maxLength: 3 }),
  [`${path}.affinity`]: affinity,
});

/** A worker, whose requests fit into its limits when only one of them is given, too. */
const workerOverrides = (path: string): Overrides => ({
  ...podOverrides(path),
  [`${path}.image`]: fc.constantFrom("worker", "ghcr.io/team/worker:1.2", "registry.example.org:5000/a/b@sha256:abc"),
  [`${path}.resources`]: fc.oneof(
    resources,
    fc.record({ requests: fc.record({ cpu: quantity(["m"]), memory: quantity(["Mi", "0Mi"]) }) }),
    fc.record({ limits: fc.record({ memory: quantity(["Gi", "e9"]) }) }),
    fc.constant({ limits: {}, requests: {} }),
  ),
  [`${path}.env`]: map(fc.stringMatching(/^[a-z_][-._a-zA-Z0-9]{0,9}$/u), anyText),
  [`${path}.envFrom`]: fc.array(
    fc.oneof(
      fc.record({ secretRef: fc.record({ name, optional: fc.boolean() }) }),
      fc.record({ prefix: fc.constant("A_"), configMapRef: fc.record({ name }) }),
    ),
    { maxLength: 2 },
  ),
  [`${path}.imagePullSecrets`]: pullSecrets,
  ...volumeOverrides(path),
});

/** No mounts: what they name may not be among the volumes. */
const volumeOverrides = (path: string): Overrides => ({
  [`${path}.extraVolumes`]: fc.constant([{ name: "more", secret: { secretName: "more", defaultMode: 0o440 } }]),
  [`${path}.extraVolumeMounts`]: fc.constant([]),
});

const imageOverrides = (path: string): Overrides => ({
  [`${path}.registry`]: fc.constantFrom("", "ghcr.io", "registry.example.org:5000"),
  [`${path}.repository`]: fc.constantFrom("millrace", "team/millrace", "a/b/c-d"),
});

const SECRET_KEYS = [
  "auth.credsKey",
  "auth.tokenKey",
  "auth.nkeyKey",
  "auth.passwordKey",
  "tls.caKey",
  "tls.certKey",
  "tls.keyKey",
];

const identityOverrides = (path: string): Overrides => ({
  [`${path}.auth.user`]: fc.constantFrom("", "user", "$(HOME)", 'a "b"'),
  ...Object.fromEntries(SECRET_KEYS.map((key) => [`${path}.${key}`, secretKey])),
});

/** What an API server checks and the schema leaves to it. */
const validFields: Overrides = {
  ...consistentFields,
  "global.imageRegistry": fc.constantFrom("", "local:5000", "registry.example.org"),
  "global.imagePullSecrets": pullSecrets,
  commonLabels: map(labelKey, labelValue),
  commonAnnotations: map(labelKey, anyText),
  ...imageOverrides("image"),
  ...imageOverrides("nats.image"),
  ...podOverrides("nats"),
  ...Object.assign(
    {},
    ...["dispatcher", "monitor", "scaler"].map((service) => ({
      ...podOverrides(service),
      [`${service}.replicas`]: fc.integer({ min: 0, max: 5 }),
      [`${service}.topologySpreadConstraints`]: constraints,
      [`${service}.serviceAccount.annotations`]: map(labelKey, anyText),
    })),
  ),
  "nats.external.url": fc.constantFrom("", "nats://nats.example.org:4222", "tls://a.example.org:4222,tls://b.example.org"),
  ...workerOverrides("workers.[]"),
  ...identityOverrides("nats"),
  ...identityOverrides("workerNats"),
  ...volumeOverrides("nats"),
  "metrics.serviceMonitor.labels": map(labelKey, labelValue),
  "networkPolicy.natsFrom": fc.array(peer, { maxLength: 3 }),
  "tracing.headers.key": secretKey,
  "test.body": anyText,
};

/**
 * `count` sets of values, the same ones for the same seed, which not only the schema but a real API server accepts. Objects are put into no
 * namespace but the release's and the given ones, which must exist.
 */
export function generatedValues(seed: number, count: number, namespaces: readonly string[] = []): GeneratedValues[] {
  const places: Overrides = {
    "jobs.namespace": fc.constantFrom("", ...namespaces),
    "jobs.extraNamespaces": fc.subarray([...namespaces]),
  };
  const arbitrary = schemaValues(schema, { ...validFields, ...places }).map((found) => consistent(found as GeneratedValues));
  return fc.sample(arbitrary, { seed, numRuns: count });
}
