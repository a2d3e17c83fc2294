import type { V1Service } from "@kubernetes/client-node";
import type { App } from "cdk8s";
import type { Check } from "../helm/chart-files.ts";
import { given } from "../helm/collections.ts";
import { when } from "../helm/documents.ts";
import { allOf, condition } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { named, release, selectorLabels } from "../release.ts";
import { v } from "../values.ts";
import { type Port, plainService } from "./service.ts";
import { hasWorkers } from "./worker-values.ts";

const GRPC: Port = { name: "grpc", number: 9090, variable: "GRPC_SERVER_PORT" };

/** As KEDA's operator, which may be in any namespace, finds it. */
export const scalerAddress = `${named("scaler")}.${release.namespace}:${GRPC.number}`;

/** Nobody asks it when there are no workers, or no KEDA. */
export const hasScaler = allOf(hasWorkers, v.keda.enabled);

/** Since 1.34 by default; an API server refuses a value that it does not know. */
const knowsSameNode = condition('semverCompare ">=1.34.0-0" $.Capabilities.KubeVersion.Version');

/** Tells KEDA when workers have work. */
export function scaler(app: App): Check[] {
  const { chart, checks } = plainService(app, "scaler", { ports: [GRPC], metricsService: named("scaler-metrics") });
  when(chart, hasScaler);
  manifest<V1Service>(chart, "service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: named("scaler") },
    spec: {
      type: "ClusterIP",
      // A node that is lost takes KEDA along, instead of leaving it waiting. Not `internalTrafficPolicy: Local`, for which other nodes do not count at all.
      trafficDistribution: given(knowsSameNode, "PreferSameNode"),
      selector: selectorLabels("scaler"),
      ports: [{ name: GRPC.name, port: GRPC.number, targetPort: GRPC.name }],
    },
  });
  return checks;
}
