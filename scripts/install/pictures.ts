import { createHash } from "node:crypto";
import sharp from "sharp";
import { sideService } from "./side-service.ts";
import { kubectl, type Target } from "./target.ts";

const NAME = "pictures";
const FORMATS = { jpg: "jpeg", png: "png", gif: "gif", webp: "webp" } as const;
const SIZES = [
  { width: 2000, height: 1000 },
  { width: 120, height: 80 },
] as const;

/** busybox' server does not know all of them. */
const SERVER_CONFIG = Object.values(FORMATS)
  .map((format) => `.${format}:image/${format}\n`)
  .join("");

/** A few pictures behind a Service of the cluster, for one without a way out. */
export class Pictures {
  readonly #target: Target;
  readonly #namespace: string;

  constructor(options: { readonly target: Target; readonly namespace: string }) {
    this.#target = options.target;
    this.#namespace = options.namespace;
  }

  /** Of the one that the quick start takes. */
  get url(): string {
    return `http://${NAME}.${this.#namespace}/2000x1000.jpg`;
  }

  async ensure(): Promise<void> {
    const binaryData = Object.fromEntries(
      [...(await renderPictures())].map(([name, bytes]) => [name, bytes.toString("base64")] as const),
    );
    const files = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: NAME, namespace: this.#namespace },
      data: { "httpd.conf": SERVER_CONFIG },
      binaryData,
    };
    const server = sideService({
      name: NAME,
      namespace: this.#namespace,
      image: "docker.io/library/busybox:latest",
      command: ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/pictures", "-c", "/pictures/httpd.conf"],
      port: 8080,
      path: "/120x80.jpg",
      volumes: [{ name: "pictures", mountPath: "/pictures", volume: { configMap: { name: NAME } } }],
      revision: createHash("sha256").update(JSON.stringify(files)).digest("hex").slice(0, 12),
    });
    const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: [files, ...server] });
    await kubectl(this.#target, ["apply", "--server-side", "--force-conflicts", "-f", "-"], { input });
    await kubectl(this.#target, ["-n", this.#namespace, "rollout", "status", `deployment/${NAME}`, "--timeout=120s"]);
  }
}

/** By file name, `<width>x<height>.<format>`. The same bytes each time. */
export async function renderPictures(): Promise<Map<string, Buffer>> {
  const pictures = new Map<string, Buffer>();
  for (const { width, height } of SIZES) {
    const picture = await sharp(Buffer.from(drawing(width, height))).toBuffer();
    for (const [extension, format] of Object.entries(FORMATS))
      pictures.set(`${width}x${height}.${extension}`, await sharp(picture).toFormat(format).toBuffer());
  }
  return pictures;
}

/** A sun over hills. */
function drawing(width: number, height: number): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 200 100" preserveAspectRatio="none">
<rect width="200" height="100" fill="#9fd3ff"/><circle cx="150" cy="30" r="14" fill="#ffd54a"/>
<path d="M0 70 Q50 30 100 65 T200 55 V100 H0 Z" fill="#4f9d4f"/><path d="M0 85 Q60 60 120 82 T200 78 V100 H0 Z" fill="#2f6f3f"/></svg>`;
}
