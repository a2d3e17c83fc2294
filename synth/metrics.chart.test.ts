import type { V1Service } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { byName, deployedPod, documents, ofKind, refusal, template } from "./testing/rendered.ts";

interface ServiceMonitor {
  readonly apiVersion: string;
  readonly spec: object;
}

const json = (path: string, value: unknown): string[] => ["--set-json", `${path}=${JSON.stringify(value)}`];
const monitored = async (rest: object = {}) =>
  documents(await template("x", "-n", "home", ...json("metrics.serviceMonitor", { enabled: true, ...rest })));
const labelsOf = (component: string) => ({
  "app.kubernetes.io/name": "millrace",
  "app.kubernetes.io/instance": "x",
  "app.kubernetes.io/component": component,
});

describe("ServiceMonitors", () => {
  it("exist only when the user says so, whatever the cluster has, and their Services with them", async () => {
    const capable = documents(await template("x", "--api-versions", "monitoring.coreos.com/v1"));
    for (const all of [capable, documents(await template("x"))]) {
      expect(ofKind(all, "ServiceMonitor")).toEqual([]);
      expect(ofKind(all, "Service").map(({ metadata }) => metadata.name)).toEqual([
        "x-millrace-nats",
        "x-millrace-nats-headless",
      ]);
    }
    expect(ofKind(await monitored(), "ServiceMonitor")).toHaveLength(2);
  });

  it.each(["dispatcher", "monitor"])("%s: asks every pod of it, ready or not, on the port that has /metrics", async (service) => {
    const all = await monitored();
    const name = `x-millrace-${service}`;
    expect(byName<V1Service>(all, "Service", name)).toMatchObject({
      metadata: { namespace: "home", labels: labelsOf(service) },
      spec: {
        clusterIP: "None",
        publishNotReadyAddresses: true,
        selector: labelsOf(service),
        ports: [{ name: "http", port: 8080, targetPort: "http" }],
      },
    });
    expect(deployedPod(all, name).containers[0]?.ports).toEqual([{ name: "http", containerPort: 8080 }]);
    const { apiVersion, metadata, spec } = byName<ServiceMonitor>(all, "ServiceMonitor", name);
    expect(apiVersion).toBe("monitoring.coreos.com/v1");
    expect(metadata.namespace).toBe("home");
    // `honorLabels`: our labels `service` and `namespace` stay what they say.
    expect(spec).toEqual({
      selector: { matchLabels: labelsOf(service) },
      endpoints: [{ port: "http", path: "/metrics", honorLabels: true }],
    });
  });

  it("take the user's pace, labels and relabelings", async () => {
    const relabelings = [{ sourceLabels: ["__meta_kubernetes_pod_node_name"], targetLabel: "node" }];
    const metricRelabelings = [{ sourceLabels: ["__name__"], regex: "nodejs_.*", action: "drop" }];
    const pace = { interval: "1m30s", scrapeTimeout: "10s" };
    const labels = { release: "prometheus", "app.kubernetes.io/component": "stolen" };
    const all = await monitored({ ...pace, labels, relabelings, metricRelabelings });
    const found = byName<ServiceMonitor>(all, "ServiceMonitor", "x-millrace-monitor");
    expect(found.metadata.labels).toMatchObject({ release: "prometheus", ...labelsOf("monitor") });
    expect(found.spec).toMatchObject({ endpoints: [{ ...pace, relabelings, metricRelabelings }] });
    expect(byName(all, "Service", "x-millrace-monitor").metadata.labels).not.toHaveProperty("release");
  });

  it.each(["30", "1.5m", "5s1m", " 30s"])("refuse %j, which the operator would not take", async (interval) => {
    expect(await refusal(...json("metrics.serviceMonitor.interval", interval))).toContain("/metrics/serviceMonitor/interval");
  });
});
