import type { V1NetworkPolicy, V1NetworkPolicyPeer } from "@kubernetes/client-node";
import type { Construct } from "constructs";
import { when } from "../helm/documents.ts";
import { manifest, type Templated } from "../helm/templated.ts";
import { type Component, named, selectorLabels } from "../release.ts";
import { v } from "../values.ts";

/**
 * Who may reach the component's pods, on which of their ports; without peers, everybody. Only ingress: where the pods may go is for those to
 * say who know the addresses of the API server and of an external NATS.
 */
export function allowIngress(
  chart: Construct,
  component: Component,
  ports: number[],
  from?: Templated<V1NetworkPolicyPeer>[],
): void {
  const policy = manifest<V1NetworkPolicy>(chart, "network-policy", {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: named(component) },
    spec: {
      podSelector: { matchLabels: selectorLabels(component) },
      policyTypes: ["Ingress"],
      ingress: [{ ...(from === undefined ? {} : { from }), ports: ports.map((port) => ({ port, protocol: "TCP" })) }],
    },
  });
  when(policy, v.networkPolicy.enabled);
}
