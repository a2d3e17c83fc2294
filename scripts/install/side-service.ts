/** A program that serves HTTP beside Millrace and is no part of it. */
export interface SideService {
  readonly name: string;
  readonly namespace: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly object[];
  /** Of the container, which is the Service's too. */
  readonly port: number;
  /** What the probe asks. */
  readonly path: string;
  readonly volumes?: readonly { readonly volume: object; readonly mountPath: string; readonly name: string }[];
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** The pod is made anew when this changes. */
  readonly revision?: string;
}

/** A Deployment of one pod and its Service, within what Pod Security calls restricted. */
export function sideService(options: SideService): object[] {
  const { name, namespace, image, port, path, volumes = [] } = options;
  const metadata = { name, namespace, labels: { app: name, "app.kubernetes.io/part-of": "millrace-examples" } };
  const security = {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    runAsUser: 65532,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  };
  const container = {
    name,
    image,
    imagePullPolicy: "IfNotPresent",
    ...(options.command === undefined ? {} : { command: options.command }),
    args: options.args ?? [],
    env: options.env ?? [],
    ports: [{ name: "http", containerPort: port }],
    readinessProbe: { httpGet: { path, port: "http" }, periodSeconds: 1 },
    resources: { requests: { cpu: "10m", memory: "32Mi" } },
    securityContext: security,
    volumeMounts: volumes.map(({ name: volume, mountPath }) => ({ name: volume, mountPath })),
  };
  const deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata,
    spec: {
      replicas: 1,
      // Two pods of it are two stores.
      strategy: { type: "Recreate" },
      selector: { matchLabels: { app: name } },
      template: {
        metadata: {
          labels: metadata.labels,
          ...(options.revision === undefined ? {} : { annotations: { "millrace.dev/revision": options.revision } }),
        },
        spec: {
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 2,
          securityContext: { fsGroup: 65532 },
          ...(options.nodeSelector === undefined ? {} : { nodeSelector: options.nodeSelector }),
          containers: [container],
          volumes: volumes.map(({ name: volume, volume: source }) => ({ name: volume, ...source })),
        },
      },
    },
  };
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: { selector: { app: name }, ports: [{ name: "http", port: 80, targetPort: "http" }] },
  };
  return [deployment, service];
}
