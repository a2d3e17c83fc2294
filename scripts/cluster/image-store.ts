import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { ClusterError } from "./cluster-error.ts";
import { command } from "./command.ts";
import type { NodeLayout } from "./node-layout.ts";

const importsSchema = z.record(z.string(), z.string());

/** The images of one node's containerd. What was imported is remembered by content, so a repeated import costs one hash. */
export class ImageStore {
  readonly #node: NodeLayout;

  constructor(options: { readonly node: NodeLayout }) {
    this.#node = options.node;
  }

  async import(archivePath: string, reference: string): Promise<{ readonly kind: "imported" | "alreadyThere" }> {
    if (!existsSync(archivePath))
      throw new ClusterError("IMAGE_INPUT_MISSING", `${archivePath} does not exist. Build the image first.`);
    const hash = await fileHash(archivePath);
    if (this.#imports()[reference] === hash && (await this.#has(reference))) return { kind: "alreadyThere" };
    await this.#ctr(["images", "import", archivePath]);
    if (!(await this.#has(reference))) {
      throw new ClusterError(
        "IMAGE_INPUT_MISSING",
        `${archivePath} was imported and holds no image ${reference}. Build it with that reference as its tag.`,
      );
    }
    const draft = `${this.#node.importsFile}.draft`;
    writeFileSync(draft, JSON.stringify({ ...this.#imports(), [reference]: hash }, null, 2));
    renameSync(draft, this.#node.importsFile);
    return { kind: "imported" };
  }

  #imports(): Readonly<Record<string, string>> {
    if (!existsSync(this.#node.importsFile)) return {};
    return importsSchema.parse(JSON.parse(readFileSync(this.#node.importsFile, "utf8")));
  }

  async #has(reference: string): Promise<boolean> {
    return (await this.#ctr(["images", "list", "--quiet", `name==${reference}`])).trim() !== "";
  }

  async #ctr(args: readonly string[]): Promise<string> {
    return command("ctr", ["--address", this.#node.containerdSocket, "--namespace", "k8s.io", ...args], {
      hint: `containerd's log: ${this.#node.logFile("containerd")}`,
    });
  }
}

async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}
