import { GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { BoundedBuffer } from "./bounded-buffer.ts";
import { SettingsError } from "./settings.ts";
import { readSecret, type StoreSettings } from "./store-settings.ts";

const CREDENTIALS_KEPT_MS = 300_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Without a byte from the store. */
const SILENCE_TIMEOUT_MS = 60_000;

/** The store refused or did not answer; trying again may help. Holds no more than the store's own code: its answers quote access keys and signatures. */
export class StoreError extends Error {
  readonly code = "STORE_FAILED";
}

export type StoredObject =
  | { readonly kind: "object"; readonly bytes: Buffer }
  | { readonly kind: "missing" }
  | { readonly kind: "too-large"; readonly limitBytes: number };

export interface PutOptions {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly contentType: string;
  readonly signal: AbortSignal;
}

export interface GetOptions {
  readonly key: string;
  readonly limitBytes: number;
  readonly signal: AbortSignal;
}

/**
 * One bucket of an S3. An object is put whole or not at all: it is sent from memory, since what is put has been bounded before and a stream could
 * not be sent again after a broken connection.
 */
export class ObjectStore {
  readonly #client: S3Client;
  readonly #bucket: string;

  constructor(settings: StoreSettings) {
    this.#bucket = settings.bucket;
    this.#client = new S3Client({
      endpoint: settings.endpoint,
      region: settings.region,
      // A bucket is no host name at every S3, and R2 takes both forms.
      forcePathStyle: true,
      credentials: async () => ({
        accessKeyId: await readSecret(settings.accessKeyId),
        secretAccessKey: await readSecret(settings.secretAccessKey),
        expiration: new Date(Date.now() + CREDENTIALS_KEPT_MS),
      }),
      requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: SILENCE_TIMEOUT_MS },
      // Not every S3 knows the newer checksums; TLS and the signature over the body's hash protect the bytes.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
    });
  }

  async put({ key, bytes, contentType, signal }: PutOptions): Promise<void> {
    const input = { Bucket: this.#bucket, Key: key, Body: bytes, ContentLength: bytes.byteLength, ContentType: contentType };
    await this.#client.send(new PutObjectCommand(input), { abortSignal: signal }).catch((error: unknown) => {
      throw this.#failure(`write ${key}`, error, signal);
    });
  }

  async get({ key, limitBytes, signal }: GetOptions): Promise<StoredObject> {
    try {
      const command = new GetObjectCommand({ Bucket: this.#bucket, Key: key });
      const { Body } = await this.#client.send(command, { abortSignal: signal });
      const collected = new BoundedBuffer(limitBytes);
      // Leaving the loop early ends the connection. The SDK's own types leave open what runs where; in Node it is a Readable.
      for await (const chunk of (Body ?? []) as AsyncIterable<Uint8Array>) {
        signal.throwIfAborted();
        if (!collected.append(chunk)) return { kind: "too-large", limitBytes };
      }
      return { kind: "object", bytes: collected.bytes };
    } catch (error) {
      if (error instanceof S3ServiceException && error.name === "NoSuchKey") return { kind: "missing" };
      throw this.#failure(`read ${key}`, error, signal);
    }
  }

  /** False also where it may not be seen: a store tells who may not list that what is not there is forbidden. */
  async has({ key, signal }: Pick<GetOptions, "key" | "signal">): Promise<boolean> {
    try {
      await this.#client.send(new HeadObjectCommand({ Bucket: this.#bucket, Key: key }), { abortSignal: signal });
      return true;
    } catch (error) {
      const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
      if (!signal.aborted && (status === 403 || status === 404)) return false;
      throw this.#failure(`look for ${key}`, error, signal);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  #failure(action: string, error: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) return signal.reason;
    const reason =
      error instanceof S3ServiceException
        ? `the store answered ${error.name} (HTTP ${error.$metadata.httpStatusCode ?? "?"})`
        : connectionProblem(error);
    return new StoreError(
      `cannot ${action} in bucket ${this.#bucket}: ${reason}; check S3_ENDPOINT or R2_ACCOUNT_ID, R2_BUCKET and the keys' rights`,
    );
  }
}

function connectionProblem(error: unknown): string {
  if (!(error instanceof Error)) return "unknown failure";
  if (error instanceof SettingsError) return error.message;
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}
