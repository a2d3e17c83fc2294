import type { V1PodDisruptionBudget } from "@kubernetes/client-node";
import type { Chart } from "cdk8s";
import { when } from "../helm/documents.ts";
import { manifest } from "../helm/templated.ts";
import { named, selectorLabels } from "../release.ts";
import { v } from "../values.ts";

/** How many of the component's pods a drain may take away at once. */
export function disruptionBudget(chart: Chart, component: "dispatcher" | "monitor" | "scaler" | "nats"): void {
  const { pdb } = v[component];
  const budget = manifest<V1PodDisruptionBudget>(chart, "disruption-budget", {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name: named(component) },
    spec: {
      maxUnavailable: pdb.maxUnavailable,
      // A pod that is not ready does no work: keeping it would only block the drain.
      unhealthyPodEvictionPolicy: "AlwaysAllow",
      selector: { matchLabels: selectorLabels(component) },
    },
  });
  when(budget, pdb.enabled);
}
