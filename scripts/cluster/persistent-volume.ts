import type { NodeName } from "./node-layout.ts";

/** A folder of one node as a PersistentVolume. */
export function persistentVolume(volume: {
  readonly name: string;
  readonly node: NodeName;
  readonly storageClass: string;
  readonly folder: string;
}): object {
  const { name, node, storageClass, folder } = volume;
  const onNode = { key: "kubernetes.io/hostname", operator: "In", values: [node] };
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name },
    spec: {
      // In name only: a folder has no size of its own.
      capacity: { storage: "10Gi" },
      accessModes: ["ReadWriteOnce"],
      persistentVolumeReclaimPolicy: "Retain",
      storageClassName: storageClass,
      local: { path: folder },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [onNode] }] } },
    },
  };
}
