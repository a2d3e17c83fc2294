import { ensureBinaries } from "../cluster/binaries.ts";
import { buildBusyboxImage, buildNatsImage } from "../cluster/images.ts";
import type { NodeCount } from "../cluster/node-layout.ts";
import { ImagePipeline, type ImageWorkers } from "./image-pipeline.ts";
import { Keda } from "./keda.ts";
import { LocalTarget } from "./local-target.ts";
import { buildProductImage, type ProductImage, productTag } from "./product-image.ts";
import type { Profile } from "./profile.ts";
import { HelmRelease } from "./release.ts";
import { clientProgram, kubectl, type Progress, type Target } from "./target.ts";

/** One thing to do, told to people while it is done. */
export interface Step {
  readonly title: string;
  /** What `run` would do now, in words. Changes nothing. */
  plan(): Promise<string>;
  /** May be repeated: what is already so is left alone. */
  run(progress: Progress): Promise<void>;
}

export interface InstallOptions {
  /** @default the local cluster that the profile names */
  readonly target?: Target;
  /** Of the default target; any other knows its own. */
  readonly nodes?: NodeCount;
  readonly keda?: boolean;
  /** The image workers, with all that they need; KEDA, too. */
  readonly images?: boolean;
}

/** From nothing to a running installation, in order. Used by `setup-all` and by the end-to-end tests. */
export function installSteps(profile: Profile, options: InstallOptions = {}): Step[] {
  const target = options.target ?? new LocalTarget({ name: profile.cluster, nodes: options.nodes });
  const release = new HelmRelease({ target, profile });
  const pipeline = options.images === true ? new ImagePipeline({ target, namespace: profile.namespace }) : undefined;
  let imageWorkers: ImageWorkers | undefined;
  const valuesWith = (product: ProductImage): Record<string, unknown> => ({
    ...profile.values,
    ...target.imageValues(product),
    ...imageWorkers,
  });
  const namespaces = [profile.namespace, profile.jobsNamespace, ...profile.extraNamespaces];
  const later = "follows once the cluster is there";
  let product: ProductImage | undefined;
  const steps: Step[] = [
    {
      title: `Kubernetes: ${target.title}`,
      plan: () => target.plan(),
      run: (progress) => target.up(progress),
    },
    {
      title: "Images",
      async plan() {
        const tag = await productTag();
        return target.takesImports
          ? `millrace:${tag}, nats and busybox: build and import what is not there`
          : `none to build: the cluster pulls millrace:${tag}, which \`make push\` has put there`;
      },
      async run(progress) {
        if (!target.takesImports) {
          product = { tag: await productTag() };
          return;
        }
        const { "nats-server": natsServer } = await ensureBinaries(["nats-server"], progress);
        const built = await buildProductImage();
        for (const image of [await buildBusyboxImage(), await buildNatsImage(natsServer), built])
          await target.importImage(image, progress);
        product = built;
      },
    },
    {
      title: "Namespaces",
      async plan() {
        return `${namespaces.join(", ")}: create what is not there`;
      },
      async run() {
        for (const namespace of namespaces) await ensureNamespace(target, namespace);
      },
    },
    {
      title: `Helm release ${profile.release}`,
      async plan() {
        // What the workers' images are called is known when they are built.
        if (pipeline !== undefined) return "install or upgrade the chart, with the image workers";
        return (await target.exists()) && clientProgram(target, "helm") !== undefined
          ? release.plan(valuesWith({ tag: await productTag() }))
          : `install the chart; ${later}`;
      },
      async run(progress) {
        const outcome = await release.ensure(valuesWith(product ?? { tag: await productTag() }));
        progress(outcome === "unchanged" ? "already what is wanted" : "installed");
      },
    },
  ];
  if (pipeline !== undefined) {
    const step: Step = {
      title: "Image workers",
      plan: async () => pipeline.plan(),
      async run(progress) {
        imageWorkers = await pipeline.ensure(progress);
      },
    };
    steps.splice(3, 0, step);
  }
  if (options.keda === true || pipeline !== undefined) {
    const keda = new Keda({ target });
    const step: Step = { title: `KEDA ${keda.version}`, plan: () => keda.plan(), run: (progress) => keda.ensure(progress) };
    // Before the release: its ScaledObjects need KEDA's definitions.
    steps.splice(2, 0, step);
  }
  return steps;
}

/** Made by the installer and never by the chart: a chart that owns a namespace takes other people's work with it when it goes. */
async function ensureNamespace(target: Target, namespace: string): Promise<void> {
  const manifest = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  await kubectl(target, ["apply", "--server-side", "-f", "-"], { input: JSON.stringify(manifest) });
}
