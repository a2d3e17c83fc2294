import type { V1Service } from "@kubernetes/client-node";
import { Construct } from "constructs";
import { spread } from "../helm/collections.ts";
import { when } from "../helm/documents.ts";
import { optional } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { type Component, named, selectorLabels } from "../release.ts";
import { v } from "../values.ts";

/** `monitoring.coreos.com/v1`, as far as the chart writes it; checked against the CRD of prometheus-operator 0.85. */
interface ServiceMonitor {
  metadata?: { name?: string };
  spec: {
    selector: { matchLabels: Record<string, string> };
    endpoints: {
      port: string;
      path: string;
      honorLabels: boolean;
      interval: string;
      scrapeTimeout: string;
      relabelings: object[];
      metricRelabelings: object[];
    }[];
  };
}

/**
 * What the Prometheus Operator needs to find the service's metrics. The operator may come after the chart, and `helm template` knows no cluster:
 * whether there is a ServiceMonitor is the user's word, never what the API server is seen to have.
 */
export function serviceMonitor(
  chart: Construct,
  name: Component,
  port: { name: string; number: number },
  serviceName: string = named(name),
): void {
  const values = v.metrics.serviceMonitor;
  const scope = new Construct(chart, "metrics");
  when(scope, values.enabled);
  manifest<V1Service>(scope, "service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: serviceName },
    spec: {
      clusterIP: "None",
      // A pod that is not ready tells why.
      publishNotReadyAddresses: true,
      selector: selectorLabels(name),
      ports: [{ name: port.name, port: port.number, targetPort: port.name }],
    },
  });
  manifest<ServiceMonitor>(scope, "service-monitor", {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "ServiceMonitor",
    metadata: { name: named(name), labels: spread(values.labels) },
    spec: {
      selector: { matchLabels: selectorLabels(name) },
      endpoints: [
        {
          port: port.name,
          path: "/metrics",
          // `service` and `namespace` are labels of ours. Prometheus would write the target's over them.
          honorLabels: true,
          interval: optional(values.interval),
          scrapeTimeout: optional(values.scrapeTimeout),
          relabelings: values.relabelings,
          metricRelabelings: values.metricRelabelings,
        },
      ],
    },
  });
}
