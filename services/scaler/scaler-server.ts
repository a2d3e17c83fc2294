import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { errorText, isMillraceError, MillraceError } from "../../libs/contract/errors.ts";
import type { Service } from "../../libs/runtime/lifecycle.ts";
import type { Log } from "../../libs/runtime/log.ts";
import type { Metrics } from "../../libs/runtime/metrics.ts";
import {
  EXTERNAL_SCALER,
  type GetMetricSpecResponse,
  type GetMetricsRequest,
  type GetMetricsResponse,
  type IsActiveResponse,
  type ScaledObjectRef,
} from "./external-scaler.ts";
import { metricName, parseWorkerRef } from "./worker-ref.ts";
import type { Reading } from "./worker-watch.ts";
import type { WorkerWatches } from "./worker-watches.ts";

/** KEDA has no keepalive of its own: a KEDA that is gone is noticed by ours, and its streams end. */
const SERVER_OPTIONS = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_receive_message_length": 64 * 1024,
};
const STOP_MS = 5_000;

type ActiveStream = ServerWritableStream<ScaledObjectRef, IsActiveResponse>;

const CODE: Readonly<Record<string, status>> = {
  SCALED_OBJECT_INVALID: status.INVALID_ARGUMENT,
  TOO_MANY_WORKERS: status.RESOURCE_EXHAUSTED,
  WORKER_UNKNOWN: status.NOT_FOUND,
  LAG_UNKNOWN: status.UNAVAILABLE,
};

/**
 * What KEDA calls. An error keeps the replicas as they are (KEDA 2.21, scale_scaledobjects.go, `isError && Fallback == nil`; the HPA does nothing
 * without its metric), so nothing that is not confirmed is ever answered as 0.
 *
 * `StreamMetricSpec` is not implemented: what it would say follows from the ScaledObject, and KEDA then asks `GetMetricSpec`.
 */
export class ScalerServer implements Service {
  readonly name = "grpc-server";
  readonly #port: number;
  readonly #watches: Pick<WorkerWatches, "of">;
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #streams = new Set<ActiveStream>();
  readonly #server = new Server(SERVER_OPTIONS);
  #boundPort: number | undefined;

  constructor(options: {
    readonly port: number;
    readonly watches: Pick<WorkerWatches, "of">;
    readonly metrics: Metrics;
    readonly log: Log;
  }) {
    this.#port = options.port;
    this.#watches = options.watches;
    this.#metrics = options.metrics;
    this.#log = options.log;
    this.#server.addService(EXTERNAL_SCALER, this.#implementation());
  }

  /** The port that was bound, for `port: 0`. */
  get port(): number {
    return this.#boundPort ?? this.#port;
  }

  get streams(): number {
    return this.#streams.size;
  }

  async start(): Promise<void> {
    // A node without IPv6 refuses the first.
    this.#boundPort = await this.#bind("[::]").catch(() => this.#bind("0.0.0.0"));
  }

  /** Streams are ended, not cut: after an error KEDA would wait ever longer until it opens the next one. */
  async stop(): Promise<void> {
    for (const stream of this.#streams) stream.end();
    const { promise, resolve } = Promise.withResolvers<void>();
    const force = setTimeout(() => {
      this.#server.forceShutdown();
      resolve();
    }, STOP_MS);
    this.#server.tryShutdown(() => resolve());
    await promise;
    clearTimeout(force);
  }

  #bind(address: string): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#server.bindAsync(`${address}:${this.#port}`, ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
    return promise;
  }

  #implementation(): UntypedServiceImplementation {
    const isActive: handleUnaryCall<ScaledObjectRef, IsActiveResponse> = ({ request }, answer) =>
      this.#answer(async () => ({ result: (await this.#ask(request)).isActive }), answer);
    const getMetrics: handleUnaryCall<GetMetricsRequest, GetMetricsResponse> = ({ request }, answer) =>
      this.#answer(() => this.#getMetrics(request), answer);
    const getMetricSpec: handleUnaryCall<ScaledObjectRef, GetMetricSpecResponse> = ({ request }, answer) =>
      this.#answer(() => Promise.resolve(getSpec(request)), answer);
    const streamIsActive: handleServerStreamingCall<ScaledObjectRef, IsActiveResponse> = (stream) => this.#follow(stream);
    return { IsActive: isActive, GetMetrics: getMetrics, GetMetricSpec: getMetricSpec, StreamIsActive: streamIsActive };
  }

  async #getMetrics({ scaledObjectRef }: GetMetricsRequest): Promise<GetMetricsResponse> {
    const { lag } = await this.#ask(scaledObjectRef);
    return {
      metricValues: [{ metricName: metricName(parseWorkerRef(scaledObjectRef)), metricValue: lag, metricValueFloat: lag }],
    };
  }

  async #ask(request: unknown): Promise<Extract<Reading, { kind: "known" }>> {
    const reading = await this.#watches.of(parseWorkerRef(request)).ask();
    if (reading.kind === "known") return reading;
    throw new MillraceError(reading.kind === "missing" ? "WORKER_UNKNOWN" : "LAG_UNKNOWN", reading.problem);
  }

  #answer<Response>(call: () => Promise<Response>, answer: Parameters<handleUnaryCall<unknown, Response>>[1]): void {
    // A refusal of the request is thrown in the same tick.
    new Promise<Response>((resolve) => resolve(call())).then(
      (response) => answer(null, response),
      (error: unknown) => answer(this.#problem(error)),
    );
  }

  #follow(stream: ActiveStream): void {
    try {
      const ref = parseWorkerRef(stream.request);
      const watch = this.#watches.of(ref);
      const unsubscribe = watch.subscribe((isActive) => stream.write({ result: isActive }));
      this.#streams.add(stream);
      this.#metrics.scalerStreams.set(this.#streams.size);
      const said = { worker: ref.worker, peer: stream.getPeer() };
      this.#log.info("stream.opened", said);
      const end = (): void => {
        unsubscribe();
        if (!this.#streams.delete(stream)) return;
        this.#metrics.scalerStreams.set(this.#streams.size);
        this.#log.info("stream.closed", said);
      };
      // By KEDA, by a lost connection, by us.
      for (const event of ["cancelled", "finish", "close", "error"]) stream.once(event, end);
      if (stream.cancelled) end();
    } catch (error) {
      stream.emit("error", this.#problem(error));
    }
  }

  #problem(error: unknown): { readonly code: status; readonly details: string } {
    const code = isMillraceError(error) ? CODE[error.code] : undefined;
    if (code === undefined) this.#log.error("call.failed", { error });
    return { code: code ?? status.INTERNAL, details: errorText(error) };
  }
}

function getSpec(request: ScaledObjectRef): GetMetricSpecResponse {
  const ref = parseWorkerRef(request);
  return { metricSpecs: [{ metricName: metricName(ref), targetSize: ref.lagThreshold, targetSizeFloat: ref.lagThreshold }] };
}
