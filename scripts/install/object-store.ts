import { randomBytes } from "node:crypto";
import { CreateBucketCommand, GetObjectCommand, ListObjectsV2Command, S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { z } from "zod";
import { openTunnel } from "../../cli/src/port-forward.ts";
import { binaryVersion, ensureBinaries, missingBinaries } from "../cluster/binaries.ts";
import { buildVersitygwImage } from "../cluster/images.ts";
import { sideService } from "./side-service.ts";
import { kubectl, kubectlJson, type Progress, type Target } from "./target.ts";

const SERVICE = "s3";
const BUCKET = "images";
/** The one that Cloudflare's R2 has, too: the workers sign for it. */
const REGION = "auto";
const PORT = 7070;

export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
  readonly storedAt: Date;
}

/** As much of a cluster as the store needs. */
type StoreTarget = Pick<Target, "importImage" | "binDir" | "context" | "kubeconfig">;

const secretSchema = z.object({ data: z.record(z.string(), z.string()).default({}) });

/**
 * An S3 for a cluster that is to do without one from outside: versitygw on a folder that goes with its pod. What the image workers need to
 * know of it is in a Secret, under the names of their environment.
 */
export class ObjectStore {
  readonly #target: StoreTarget;
  readonly #namespace: string;
  readonly #secret: string;
  readonly #nodeSelector: Readonly<Record<string, string>> | undefined;

  constructor(options: {
    readonly target: StoreTarget;
    readonly namespace: string;
    readonly secret: string;
    readonly nodeSelector?: Readonly<Record<string, string>>;
  }) {
    this.#target = options.target;
    this.#namespace = options.namespace;
    this.#secret = options.secret;
    this.#nodeSelector = options.nodeSelector;
  }

  plan(): string {
    const [missing] = missingBinaries(["versitygw"]);
    const build = missing === undefined ? "" : `build versitygw ${binaryVersion("versitygw")} (about ${missing.seconds} s), `;
    return `${build}Service ${SERVICE} with the bucket ${BUCKET}, Secret ${this.#secret}: create what is not there`;
  }

  async ensure(progress: Progress): Promise<void> {
    const { versitygw } = await ensureBinaries(["versitygw"], progress);
    const image = await buildVersitygwImage(versitygw);
    await this.#target.importImage(image, progress);
    await this.#ensureSecret();
    const fromSecret = (name: string, key: string) => ({
      name,
      valueFrom: { secretKeyRef: { name: this.#secret, key } },
    });
    const objects = sideService({
      name: SERVICE,
      namespace: this.#namespace,
      image: image.reference,
      // Attributes lie beside the objects: not every node's disk keeps extended ones.
      args: ["--port", `:${PORT}`, "--health", "/healthz", "--region", REGION, "--quiet", "posix", "--sidecar", "/meta", "/data"],
      env: [fromSecret("ROOT_ACCESS_KEY", "R2_ACCESS_KEY_ID"), fromSecret("ROOT_SECRET_KEY", "R2_SECRET_ACCESS_KEY")],
      port: PORT,
      path: "/healthz",
      volumes: [
        { name: "data", mountPath: "/data", volume: { emptyDir: {} } },
        { name: "meta", mountPath: "/meta", volume: { emptyDir: {} } },
      ],
      ...(this.#nodeSelector === undefined ? {} : { nodeSelector: this.#nodeSelector }),
    });
    await this.#apply(objects);
    const hint = `See why with: kubectl --context ${this.#target.context} -n ${this.#namespace} get pods,events`;
    await kubectl(this.#target, ["-n", this.#namespace, "rollout", "status", `deployment/${SERVICE}`, "--timeout=120s"], {
      hint,
    });
    await this.#withClient(async (client) => {
      await client.send(new CreateBucketCommand({ Bucket: BUCKET })).catch((error: unknown) => {
        const isThere =
          error instanceof S3ServiceException && ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"].includes(error.name);
        if (!isThere) throw error;
      });
    });
  }

  /** Whether `ensure` was ever here. */
  async exists(): Promise<boolean> {
    const found = await kubectl(this.#target, [
      "-n",
      this.#namespace,
      "get",
      "deployment",
      SERVICE,
      "--ignore-not-found",
      "-o",
      "name",
    ]);
    return found.trim() !== "";
  }

  /** All objects, the newest last. */
  async objects(): Promise<StoredObject[]> {
    return this.#withClient(async (client) => {
      const found: StoredObject[] = [];
      let token: string | undefined;
      do {
        const page = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, ContinuationToken: token }));
        for (const { Key: key = "", Size: bytes = 0, LastModified: storedAt = new Date(0) } of page.Contents ?? [])
          found.push({ key, bytes, storedAt });
        token = page.NextContinuationToken;
      } while (token !== undefined);
      return found.sort((a, b) => a.storedAt.getTime() - b.storedAt.getTime());
    });
  }

  async read(keys: readonly string[]): Promise<Buffer[]> {
    return this.#withClient(async (client) => {
      const found: Buffer[] = [];
      for (const key of keys) {
        const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
        found.push(Buffer.from((await Body?.transformToByteArray()) ?? []));
      }
      return found;
    });
  }

  /** Made once: a store whose keys change under running workers refuses them. */
  async #ensureSecret(): Promise<void> {
    if ((await this.#credentials()) !== undefined) return;
    const stringData = {
      R2_ACCOUNT_ID: "local",
      R2_ACCESS_KEY_ID: randomBytes(10).toString("hex"),
      R2_SECRET_ACCESS_KEY: randomBytes(20).toString("hex"),
      R2_BUCKET: BUCKET,
      S3_ENDPOINT: `http://${SERVICE}.${this.#namespace}`,
    };
    await this.#apply([
      {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: this.#secret, namespace: this.#namespace },
        type: "Opaque",
        stringData,
      },
    ]);
  }

  async #credentials(): Promise<{ readonly accessKeyId: string; readonly secretAccessKey: string } | undefined> {
    const args = ["-n", this.#namespace, "get", "secret", "--field-selector", `metadata.name=${this.#secret}`];
    const { items } = z.object({ items: z.array(secretSchema) }).parse(await kubectlJson(this.#target, args));
    const [accessKeyId, secretAccessKey] = ["R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"].map((key) =>
      Buffer.from(items[0]?.data[key] ?? "", "base64").toString(),
    );
    if (accessKeyId === undefined || accessKeyId === "" || secretAccessKey === undefined) return undefined;
    return { accessKeyId, secretAccessKey };
  }

  async #withClient<T>(work: (client: S3Client) => Promise<T>): Promise<T> {
    const { context, kubeconfig } = this.#target;
    const credentials = await this.#credentials();
    if (credentials === undefined) throw new Error(`no Secret ${this.#secret} in ${this.#namespace}`);
    await using tunnel = await openTunnel({ kubeconfig, context, namespace: this.#namespace, service: SERVICE, port: PORT });
    const endpoint = `http://127.0.0.1:${tunnel.port}`;
    const client = new S3Client({ region: REGION, endpoint, forcePathStyle: true, credentials });
    try {
      return await work(client);
    } finally {
      client.destroy();
    }
  }

  async #apply(objects: readonly object[]): Promise<void> {
    const input = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    await kubectl(this.#target, ["apply", "--server-side", "--force-conflicts", "-f", "-"], { input });
  }
}
