import type { V1Deployment, V1NetworkPolicy, V1Service } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { byName, type Document, deployedPod, ofKind, only } from "./testing/rendered.ts";
import { ELSEWHERE, installed, json, RESIZE, resize, withResize } from "./testing/worker-release.ts";

interface ScaledObject {
  readonly spec: {
    readonly triggers: readonly { readonly type: string; readonly metadata: Readonly<Record<string, string>> }[];
    readonly advanced: { readonly horizontalPodAutoscalerConfig: { readonly behavior: object } };
  };
}

const scaledObject = (all: Document[]) => byName<ScaledObject>(all, "ScaledObject", RESIZE);

describe("the ScaledObject", () => {
  it("pushed: names the scaler, and what it needs to know", async () => {
    const { spec } = scaledObject(await installed(...withResize({ concurrency: 4, max: 20, cooldown: "1m" })));
    expect(spec).toMatchObject({
      scaleTargetRef: { name: RESIZE },
      minReplicaCount: 0,
      maxReplicaCount: 20,
      pollingInterval: 2,
      cooldownPeriod: 60,
      triggers: [
        {
          type: "external-push",
          metadata: {
            scalerAddress: "x-millrace-scaler.home:9090",
            worker: "resize",
            subject: resize.subject,
            lagThreshold: "4",
          },
        },
      ],
    });
    expect(spec).not.toHaveProperty("fallback");
  });

  it("polled: asks the pod of NATS about both streams, with the account set", async () => {
    const { spec } = scaledObject(await installed(...withResize({ trigger: "poll", concurrency: 4, lagThreshold: 8 })));
    const trigger = (stream: string) => ({
      type: "nats-jetstream",
      metadata: {
        natsServerMonitoringEndpoint: "x-millrace-nats-headless.home.svc:8222",
        account: "$G",
        stream,
        consumer: "worker-resize",
        lagThreshold: "8",
        activationLagThreshold: "0",
      },
    });
    expect(spec.triggers).toEqual([trigger("WORK"), trigger("WORK_RETRY")]);
  });

  it("polled: asks the NATS elsewhere where the user says", async () => {
    const monitoring = "nats.monitoring.endpoint=nats-headless.nats.svc:8222,nats.monitoring.account=A";
    const { spec } = scaledObject(await installed(...withResize({ trigger: "poll" }), "--set", `${ELSEWHERE},${monitoring}`));
    for (const { metadata } of spec.triggers) {
      expect(metadata).toMatchObject({ natsServerMonitoringEndpoint: "nats-headless.nats.svc:8222", account: "A" });
    }
  });

  it("lets all pods come at once, and goes back after half a minute", async () => {
    const { spec } = scaledObject(await installed(...withResize({ max: 50 })));
    expect(spec.advanced.horizontalPodAutoscalerConfig).toEqual({
      name: RESIZE,
      behavior: {
        scaleUp: { stabilizationWindowSeconds: 0, policies: [{ type: "Pods", value: 50, periodSeconds: 15 }] },
        scaleDown: { stabilizationWindowSeconds: 30 },
      },
    });
  });
});

describe("the port that KEDA polls", () => {
  it("is one of the headless Service, behind which is the server's own pod", async () => {
    const { spec } = byName<V1Service>(await installed(), "Service", "x-millrace-nats-headless");
    expect(spec?.clusterIP).toBe("None");
    expect(spec?.ports).toContainEqual({ name: "monitor", port: 8222, targetPort: "monitor" });
  });
});

describe("the scaler", () => {
  it("is reached by gRPC, and has neither an account nor a token", async () => {
    const all = await installed(...withResize());
    const labels = { "app.kubernetes.io/instance": "x", "app.kubernetes.io/component": "scaler" };
    expect(byName<V1Service>(all, "Service", "x-millrace-scaler").spec).toMatchObject({
      type: "ClusterIP",
      selector: labels,
      ports: [{ name: "grpc", port: 9090, targetPort: "grpc" }],
    });
    expect(byName<V1Deployment>(all, "Deployment", "x-millrace-scaler").spec?.replicas).toBe(2);
    const pod = deployedPod(all, "x-millrace-scaler");
    expect(pod).toMatchObject({ automountServiceAccountToken: false });
    expect(pod).not.toHaveProperty("serviceAccountName");
    expect(only(pod.containers).ports).toEqual([
      { name: "http", containerPort: 8080 },
      { name: "grpc", containerPort: 9090 },
    ]);
    const granted = [...ofKind(all, "ServiceAccount"), ...ofKind(all, "Role"), ...ofKind(all, "RoleBinding")];
    expect(granted.filter(({ metadata }) => metadata.name.includes("scaler"))).toEqual([]);
  });

  it("is on the node of KEDA's operator, whatever its namespace, and another one elsewhere, also while an upgrade replaces them", async () => {
    const { affinity, topologySpreadConstraints } = deployedPod(await installed(...withResize()), "x-millrace-scaler");
    const [near] = affinity?.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    expect(near?.podAffinityTerm).toEqual({
      labelSelector: { matchLabels: { app: "keda-operator" } },
      namespaceSelector: {},
      topologyKey: "kubernetes.io/hostname",
    });
    const [apart] = affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    expect(apart?.podAffinityTerm).toEqual({
      labelSelector: { matchLabels: { "app.kubernetes.io/component": "scaler" } },
      matchLabelKeys: ["pod-template-hash"],
      topologyKey: "kubernetes.io/hostname",
    });
    expect(apart?.weight).toBeGreaterThan(near?.weight ?? Number.POSITIVE_INFINITY);
    // The scheduler counts both alike, so the two must not contradict each other.
    expect(topologySpreadConstraints?.[0]).toMatchObject({ matchLabelKeys: ["pod-template-hash"] });
  });

  it("is where its user says, laid over that", async () => {
    const node = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } };
    const affinity = async (own: object) =>
      deployedPod(await installed(...withResize(), ...json("scaler.affinity", own)), "x-millrace-scaler").affinity;
    expect(await affinity(node)).toMatchObject({ ...node, podAffinity: {}, podAntiAffinity: {} });
    expect(await affinity({ podAffinity: null, podAntiAffinity: null })).toBeUndefined();
  });

  it.each([
    ["v1.35.0", "PreferSameNode"],
    ["v1.34.1-gke.1000", "PreferSameNode"],
    ["v1.33.9-eks-1", undefined],
    ["v1.29.0", undefined],
  ])("is asked on KEDA's own node where Kubernetes %s can do it: %s", async (version, distribution) => {
    const { spec } = byName<V1Service>(
      await installed(...withResize(), "--kube-version", version),
      "Service",
      "x-millrace-scaler",
    );
    expect(spec?.trafficDistribution).toBe(distribution);
    // Without a scaler on its node KEDA would be refused.
    expect(spec?.internalTrafficPolicy).toBeUndefined();
  });

  it("can be watched by Prometheus, apart from the Service that KEDA asks, and so can workers", async () => {
    const all = await installed(...withResize(), "--set", "metrics.serviceMonitor.enabled=true");
    for (const [service, component] of [
      ["x-millrace-scaler-metrics", "scaler"],
      ["x-millrace-worker", "worker"],
    ] as const) {
      const { spec } = byName<V1Service>(all, "Service", service);
      expect(spec).toMatchObject({ clusterIP: "None", ports: [{ name: "http", port: 8080 }] });
      expect(spec?.selector).toMatchObject({ "app.kubernetes.io/component": component });
      expect(byName(all, "ServiceMonitor", `x-millrace-${component}`)).toMatchObject({
        spec: { selector: { matchLabels: { "app.kubernetes.io/component": component } } },
      });
    }
  });
});

describe("network policies", () => {
  it("let workers to NATS, KEDA to the scaler, and everybody to the HTTP port of both", async () => {
    const all = await installed(...withResize(), "--set", "networkPolicy.enabled=true");
    const ports = (name: string) => {
      const { spec } = byName<V1NetworkPolicy>(all, "NetworkPolicy", name);
      return spec?.ingress?.map((rule) => rule.ports?.map(({ port }) => port));
    };
    expect(ports("x-millrace-scaler")).toEqual([[8080, 9090]]);
    expect(ports("x-millrace-worker")).toEqual([[8080]]);
    // As JSON: the client's model calls `from` `_from`.
    const nats = byName<{ spec: { ingress: { from: { podSelector: { matchLabels: object } }[] }[] } }>(
      all,
      "NetworkPolicy",
      "x-millrace-nats",
    );
    const pod = byName<V1Deployment>(all, "Deployment", RESIZE).spec?.template.metadata?.labels;
    expect(pod).toMatchObject(nats.spec.ingress[0]?.from[0]?.podSelector.matchLabels ?? { none: "" });
  });
});
