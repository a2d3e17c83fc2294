/** Addresses may repeat between clusters: each lives in network namespaces of its own, with no link to the outside. */
export const network = {
  /** Where the API server and the DNS of the cluster listen. */
  controlPlaneAddress: "10.111.0.1",
  nodePrefixBits: 16,
  nodeSubnet: "10.111.0.0/16",
  serviceSubnet: "10.96.0.0/16",
  apiServiceAddress: "10.96.0.1",
  apiPort: 6443,
  clusterDomain: "cluster.local",
  /** In each node's own namespace, so the name may repeat. */
  bridge: "node0",
  /** A further node's end of the cable to node0, in its own namespace. */
  uplink: "uplink",
} as const;
