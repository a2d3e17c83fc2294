import { join } from "node:path";
import { ensureBinaries } from "../cluster/binaries.ts";
import { LocalCluster } from "../cluster/cluster.ts";
import { command } from "../cluster/command.ts";
import { type BuiltImage, buildBusyboxImage, buildNatsImage } from "../cluster/images.ts";
import { buildProductImage } from "./product-image.ts";
import type { Profile } from "./profile.ts";
import { HelmRelease } from "./release.ts";

/** One thing to do, told to people while it is done. `run` may be repeated: what is already so is left alone. */
export interface Step {
  readonly title: string;
  run(progress: (line: string) => void): Promise<void>;
}

/** From nothing to a running installation, in order. Used by `setup-all` and by the end-to-end tests. */
export function installSteps(profile: Profile): Step[] {
  const images: BuiltImage[] = [];
  const cluster = (progress: (line: string) => void): LocalCluster => new LocalCluster({ name: profile.cluster, progress });
  let productTag = "";
  return [
    {
      title: `Kubernetes cluster ${profile.cluster}`,
      async run(progress) {
        await cluster(progress).up();
      },
    },
    {
      title: "Images",
      async run(progress) {
        const { "nats-server": natsServer } = await ensureBinaries(["nats-server"], progress);
        const product = await buildProductImage();
        productTag = product.tag;
        images.push(await buildBusyboxImage(), await buildNatsImage(natsServer), product);
        for (const image of images) await cluster(progress).importImage(image.archivePath, image.reference);
      },
    },
    {
      title: "Namespaces",
      async run(progress) {
        for (const namespace of [profile.namespace, profile.jobsNamespace]) await ensureNamespace(cluster(progress), namespace);
      },
    },
    {
      title: `Helm release ${profile.release}`,
      async run(progress) {
        const release = new HelmRelease({ cluster: cluster(progress), profile });
        const outcome = await release.ensure({ ...profile.values, ...localImages(productTag) });
        progress(outcome === "unchanged" ? "already what is wanted" : "installed");
      },
    },
  ];
}

/** Made by the installer and never by the chart: a chart that owns a namespace takes other people's work with it when it goes. */
async function ensureNamespace(cluster: LocalCluster, namespace: string): Promise<void> {
  const kubectl = (args: readonly string[], input = ""): Promise<string> =>
    command(join(cluster.binDir, "kubectl"), ["--kubeconfig", cluster.kubeconfig, ...args], { input });
  const manifest = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  await kubectl(["apply", "--server-side", "-f", "-"], JSON.stringify(manifest));
}

function localImages(productTag: string): Record<string, unknown> {
  return {
    image: { registry: "localhost", repository: "millrace", tag: productTag },
    nats: { image: { registry: "localhost", repository: "nats", tag: "2.15.2" } },
  };
}
