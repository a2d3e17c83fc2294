import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { ensureBinaries } from "../../scripts/cluster/binaries.ts";
import type { StoreSettings } from "../image-store/store-settings.ts";

const BUCKET = "images";
const ACCESS_KEY_ID = "test-access-key";
const SECRET_ACCESS_KEY = "test-secret-key";
const STARTS = 5;

/** A real S3 on a folder of its own and a port of loopback, with the bucket `images`. */
export class Versitygw implements AsyncDisposable {
  readonly endpoint: string;
  readonly #client: S3Client;
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly #killOnExit: () => void;

  private constructor(started: { readonly child: ChildProcess; readonly folder: string; readonly port: number }) {
    this.#process = started.child;
    this.#folder = started.folder;
    this.#killOnExit = () => void started.child.kill("SIGKILL");
    process.once("exit", this.#killOnExit);
    this.endpoint = `http://127.0.0.1:${started.port}`;
    this.#client = new S3Client({
      endpoint: this.endpoint,
      region: "auto",
      forcePathStyle: true,
      credentials: { accessKeyId: ACCESS_KEY_ID, secretAccessKey: SECRET_ACCESS_KEY },
    });
  }

  static async start(): Promise<Versitygw> {
    const { versitygw: binary } = await ensureBinaries(["versitygw"], (line) => process.stderr.write(`${line}\n`));
    const folder = await mkdtemp(join(tmpdir(), "millrace-s3-"));
    await mkdir(join(folder, "data"));
    // It does not say which port it took when asked for any, so a free one is named; another process may be faster.
    for (let start = 1; start <= STARTS; start++) {
      const port = await freePort();
      const child = spawn(binary, ["--quiet", "--region", "auto", "--port", `127.0.0.1:${port}`, "posix", join(folder, "data")], {
        stdio: "ignore",
        env: { ROOT_ACCESS_KEY: ACCESS_KEY_ID, ROOT_SECRET_KEY: SECRET_ACCESS_KEY, PATH: process.env["PATH"] },
      });
      const server = new Versitygw({ child, folder, port });
      if (await server.#answers()) return server;
    }
    throw new Error(`versitygw did not start in ${STARTS} tries`);
  }

  get settings(): StoreSettings {
    return {
      endpoint: this.endpoint,
      region: "auto",
      bucket: BUCKET,
      accessKeyId: { kind: "value", value: ACCESS_KEY_ID },
      secretAccessKey: { kind: "value", value: SECRET_ACCESS_KEY },
    };
  }

  async keys(): Promise<string[]> {
    const { Contents = [] } = await this.#client.send(new ListObjectsV2Command({ Bucket: BUCKET }));
    return Contents.map(({ Key = "" }) => Key).sort();
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: bytes }));
  }

  async get(key: string): Promise<{ readonly bytes: Uint8Array; readonly contentType: string | undefined }> {
    const { Body, ContentType } = await this.#client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
    return { bytes: (await Body?.transformToByteArray()) ?? new Uint8Array(), contentType: ContentType };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
    process.off("exit", this.#killOnExit);
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exited = once(this.#process, "exit");
      this.#process.kill("SIGKILL");
      await exited;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** It announces nothing before it listens, so it is asked. False: it ended, as the port was taken. */
  async #answers(): Promise<boolean> {
    while (this.#process.exitCode === null && this.#process.signalCode === null) {
      const made = await this.#client.send(new CreateBucketCommand({ Bucket: BUCKET })).catch((error: unknown) => {
        if (error instanceof S3ServiceException) throw error;
      });
      if (made !== undefined) return true;
      await pause(20);
    }
    process.off("exit", this.#killOnExit);
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
