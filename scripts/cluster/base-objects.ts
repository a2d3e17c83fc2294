import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Kubectl } from "./kubectl.ts";
import type { ClusterLayout } from "./layout.ts";
import type { NodeName } from "./node-layout.ts";
import { persistentVolume } from "./persistent-volume.ts";

const VOLUME_COUNT = 8;
const storageClass = "local";
/** Folders on one node: a volume follows no pod to another. */
const volumeNode: NodeName = "node0";

const volumeListSchema = z.object({
  items: z.array(
    z.object({ metadata: z.object({ name: z.string() }), status: z.object({ phase: z.string().optional() }).optional() }),
  ),
});

/** What a cluster has before any user comes: a default StorageClass with its volumes, and CoreDNS' right to read services. */
export class BaseObjects {
  readonly #layout: ClusterLayout;
  readonly #kubectl: Kubectl;

  constructor(options: { readonly layout: ClusterLayout; readonly kubectl: Kubectl }) {
    this.#layout = options.layout;
    this.#kubectl = options.kubectl;
  }

  async apply(): Promise<void> {
    const names = Array.from({ length: VOLUME_COUNT }, (_, index) => `local-${index}`);
    for (const name of names) this.#makeFolder(name);
    const volumes = names.map((name) => this.#volume(name));
    await this.#kubectl.apply([...dnsObjects, storageClassObject, ...volumes]);
  }

  /**
   * A volume whose claim is gone stays Released for ever, as nothing provisions here; without this, the eighth reinstall finds none.
   * bound → released (claim deleted) → emptied and made anew → available. Happens at each `up`, also of a healthy cluster.
   */
  async recycleVolumes(): Promise<void> {
    const list = volumeListSchema.parse(await this.#kubectl.json(["get", "persistentvolumes"]));
    const released = list.items.filter(
      ({ metadata, status }) =>
        metadata.name.startsWith("local-") && (status?.phase === "Released" || status?.phase === "Failed"),
    );
    if (released.length === 0) return;
    const names = released.map(({ metadata }) => metadata.name);
    await this.#kubectl.run(["delete", "persistentvolume", ...names, "--wait=true", "--timeout=20s"]);
    for (const name of names) {
      const folder = join(this.#layout.volumeDir, name);
      for (const entry of existsSync(folder) ? readdirSync(folder) : [])
        rmSync(join(folder, entry), { recursive: true, force: true });
      this.#makeFolder(name);
    }
    await this.#kubectl.apply(names.map((name) => this.#volume(name)));
  }

  /** Open to all: a pod without fsGroup runs as a user the folder was not made for. The state folder around it is root's alone. */
  #makeFolder(name: string): void {
    const folder = join(this.#layout.volumeDir, name);
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o777);
  }

  #volume(name: string): object {
    return persistentVolume({ name, node: volumeNode, storageClass, folder: join(this.#layout.volumeDir, name) });
  }
}

const storageClassObject = {
  apiVersion: "storage.k8s.io/v1",
  kind: "StorageClass",
  metadata: { name: storageClass, annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
  provisioner: "kubernetes.io/no-provisioner",
  volumeBindingMode: "WaitForFirstConsumer",
};

const dnsObjects = [
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: "system:coredns" },
    rules: [
      { apiGroups: [""], resources: ["endpoints", "services", "pods", "namespaces"], verbs: ["list", "watch"] },
      { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
    ],
  },
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "system:coredns" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "system:coredns" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "system:coredns" }],
  },
];
