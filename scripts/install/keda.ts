import { join } from "node:path";
import { parseAllDocuments, stringify } from "yaml";
import { z } from "zod";
import { binaryVersion, ensureBinaries, missingBinaries } from "../cluster/binaries.ts";
import { ClusterError } from "../cluster/cluster-error.ts";
import { buildKedaImage, type KedaImageName, kedaImageNames } from "../cluster/images.ts";
import { kubectl, type Progress, type Target } from "./target.ts";

const READY_TIMEOUT = "180s";
const namespace = "keda";
const metricsApi = "v1beta1.external.metrics.k8s.io";

const container = z.looseObject({ image: z.string() });
const deployment = z.looseObject({
  kind: z.literal("Deployment"),
  spec: z.looseObject({ template: z.looseObject({ spec: z.looseObject({ containers: z.array(container) }) }) }),
});

/** As much of a cluster as KEDA's own installation needs. */
type KedaTarget = Pick<Target, "title" | "takesImports" | "importImage" | "binDir" | "context" | "kubeconfig">;

/**
 * KEDA as an install of its own beside Millrace, which never brings it: built from its Go module, with the manifests of that module. Users
 * of other clusters take KEDA's own Helm chart.
 */
export class Keda {
  readonly version = binaryVersion("keda").slice(1);
  readonly #target: KedaTarget;

  constructor(options: { readonly target: KedaTarget }) {
    this.#target = options.target;
  }

  async plan(): Promise<string> {
    const [missing] = missingBinaries(["keda"]);
    const build = missing === undefined ? "" : `build it (about ${missing.seconds} s), then `;
    return `${build}apply its manifests and wait until it is ready`;
  }

  async ensure(progress: Progress): Promise<void> {
    if (!this.#target.takesImports) {
      throw new ClusterError(
        "OPTION_INVALID",
        `--with keda is for clusters that take our images. On ${this.#target.title} install KEDA with its own Helm chart.`,
      );
    }
    const { keda } = await ensureBinaries(["keda"], progress);
    for (const name of kedaImageNames) {
      await this.#target.importImage(await buildKedaImage({ name, programsDir: keda, version: this.version }), progress);
    }
    const rendered = await kubectl(this.#target, ["kustomize", join(keda, "config", "default")]);
    progress("applying its manifests");
    await kubectl(this.#target, ["apply", "--server-side", "--force-conflicts", "-f", "-"], {
      input: withLocalImages(rendered, this.version),
    });
    progress("waiting until it is ready");
    const waitFor = ["wait", "--for=condition=Available", `--timeout=${READY_TIMEOUT}`];
    const hint = `See why with: kubectl --context ${this.#target.context} -n ${namespace} get pods,events`;
    await kubectl(this.#target, [...waitFor, "deployment", "--all", "-n", namespace], { hint });
    // The last to come: through it an HPA reads a scaler's metric, and no HPA works without it.
    await kubectl(this.#target, [...waitFor, `apiservice/${metricsApi}`], { hint });
  }
}

/** KEDA's manifests name images of a registry, and pull them always; here they are the ones that were just imported. */
export function withLocalImages(manifests: string, version: string): string {
  const objects = parseAllDocuments(manifests).map((document): unknown => {
    const object: unknown = document.toJS();
    const parsed = deployment.safeParse(object);
    if (!parsed.success) return object;
    const { containers } = parsed.data.spec.template.spec;
    for (const [index, { image, ...rest }] of containers.entries()) {
      containers[index] = { ...rest, image: `localhost/${kedaImageOf(image)}:${version}`, imagePullPolicy: "IfNotPresent" };
    }
    return parsed.data;
  });
  return objects.map((object) => `---\n${stringify(object)}`).join("");
}

function kedaImageOf(reference: string): KedaImageName {
  const name = reference.replace(/^.*\//, "").replace(/[:@].*$/, "");
  const known = kedaImageNames.find((candidate) => candidate === name);
  if (known === undefined)
    throw new ClusterError("IMAGE_INPUT_MISSING", `KEDA's manifests want the image ${reference}, which we do not build.`);
  return known;
}
