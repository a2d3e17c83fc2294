/**
 * KEDA 2.21 waits a quarter of an hour for a scaler whose node is lost without a word, and the pods of all workers with it: let that node be KEDA's own,
 * which is lost with it. The label is KEDA's manifests' and its chart's. To be apart from one another counts for more, or a second one would be there, too;
 * without those that an upgrade replaces, or the new ones would be anywhere but there.
 */
export const nearKeda = {
  podAffinity: {
    preferredDuringSchedulingIgnoredDuringExecution: [
      {
        weight: 50,
        podAffinityTerm: {
          labelSelector: { matchLabels: { app: "keda-operator" } },
          namespaceSelector: {},
          topologyKey: "kubernetes.io/hostname",
        },
      },
    ],
  },
  podAntiAffinity: {
    preferredDuringSchedulingIgnoredDuringExecution: [
      {
        weight: 100,
        podAffinityTerm: {
          labelSelector: { matchLabels: { "app.kubernetes.io/component": "scaler" } },
          matchLabelKeys: ["pod-template-hash"],
          topologyKey: "kubernetes.io/hostname",
        },
      },
    ],
  },
};
