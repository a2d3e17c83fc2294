import { join } from "node:path";
import {
  Client,
  type ClientReadableStream,
  credentials,
  type MethodDefinition,
  type ServiceDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import {
  type GetMetricSpecResponse,
  type GetMetricsResponse,
  type IsActiveResponse,
  loadOptions,
  serviceOf,
} from "../external-scaler.ts";

/** From KEDA's own file, as KEDA's client is. */
export const KEDA_SERVICE: ServiceDefinition = serviceOf(
  loadSync(join(import.meta.dirname, "../externalscaler.proto"), loadOptions()),
);

type Answer = IsActiveResponse & GetMetricSpecResponse & GetMetricsResponse;

export type Metadata = Readonly<Record<string, string>>;

/** What KEDA does with a scaler, over a connection of its own. */
export class KedaClient implements Disposable {
  readonly #client: Client;

  constructor(port: number) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  }

  async isActive(metadata: Metadata): Promise<boolean> {
    return (await this.#call("IsActive", refOf(metadata))).result;
  }

  metricSpec(metadata: Metadata): Promise<GetMetricSpecResponse> {
    return this.#call("GetMetricSpec", refOf(metadata));
  }

  async lag(metadata: Metadata, metricName = `millrace-${metadata["worker"]}`): Promise<number> {
    const request = { scaledObjectRef: refOf(metadata), metricName };
    const { metricValues } = await this.#call("GetMetrics", request);
    const [value] = metricValues;
    if (value === undefined || value.metricName !== metricName || metricValues.length !== 1)
      throw new Error("not this metric's value");
    if (value.metricValue !== value.metricValueFloat) throw new Error("two values");
    return value.metricValueFloat;
  }

  stream(metadata: Metadata, method: "StreamIsActive" | "StreamMetricSpec" = "StreamIsActive"): PushStream {
    const { path, requestSerialize, responseDeserialize } = methodOf(method);
    return new PushStream(this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, refOf(metadata)));
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  async #call(method: string, request: object): Promise<Answer> {
    const { path, requestSerialize, responseDeserialize } = methodOf(method);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, response: Answer | undefined) =>
      response === undefined ? reject(error) : resolve(response),
    );
    return promise;
  }
}

/** What was pushed, in order. */
export class PushStream {
  readonly #stream: ClientReadableStream<IsActiveResponse>;
  readonly #read: boolean[] = [];
  readonly #ended: Promise<ServiceError | "ended">;
  #seen = 0;
  #waiting: (() => void) | undefined;

  constructor(stream: ClientReadableStream<IsActiveResponse>) {
    this.#stream = stream;
    stream.on("data", ({ result }: IsActiveResponse) => {
      this.#read.push(result);
      this.#waiting?.();
    });
    this.#ended = new Promise((resolve) => stream.once("error", resolve).once("end", () => resolve("ended")));
  }

  /** All of them so far. */
  get pushes(): readonly boolean[] {
    return this.#read;
  }

  /** The next one that was not asked for yet. */
  async next(): Promise<boolean> {
    while (this.#seen >= this.#read.length) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    this.#seen += 1;
    return this.#read[this.#seen - 1] === true;
  }

  /** The next one that is this. */
  async until(isActive: boolean): Promise<void> {
    while ((await this.next()) !== isActive);
  }

  /** How it ended. */
  ended(): Promise<ServiceError | "ended"> {
    return this.#ended;
  }

  async cancel(): Promise<void> {
    this.#stream.cancel();
    await this.#ended;
  }
}

function refOf(metadata: Metadata) {
  return { name: "worker", namespace: "test", scalerMetadata: { scalerAddress: "scaler.test:9090", ...metadata } };
}

function methodOf(name: string): MethodDefinition<object, Answer> {
  const method = KEDA_SERVICE[name];
  if (method === undefined) throw new Error(`no method ${name}`);
  return method;
}
