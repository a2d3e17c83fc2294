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
import { metricName, parseWorkerRef, type WorkerRef } from "./worker-ref.ts";
import type { Reading, WorkerWatch } from "./worker-watch.ts";

/** Of a connection of KEDA's. */
export interface ConnectionTimes {
  /** KEDA has no keepalive of its own: a KEDA that is gone is noticed by ours, and its streams end. */
  readonly pingMs: number;
  readonly answerMs: number;
  /**
   * After about so long KEDA is to connect anew. It stays where it once came to for as long as that lives: on another node than its own, when the scaler of
   * its own node was not there yet, or is only since it moved.
   */
  readonly ageMs: number;
}

const TIMES: ConnectionTimes = { pingMs: 20_000, answerMs: 10_000, ageMs: 600_000 };
/** gRPC ends a connection up to a tenth later than it is told: by then a stream must not have been ended, or it is opened again where it was. */
const STREAM_OUTLIVES = 1.2;
const STOP_MS = 5_000;

const serverOptions = ({ pingMs, answerMs, ageMs }: ConnectionTimes) => ({
  "grpc.keepalive_time_ms": pingMs,
  "grpc.keepalive_timeout_ms": answerMs,
  "grpc.max_connection_age_ms": ageMs,
  "grpc.max_receive_message_length": 64 * 1024,
});

type ActiveStream = ServerWritableStream<ScaledObjectRef, IsActiveResponse>;

const CODE: Readonly<Record<string, status>> = {
  SCALED_OBJECT_INVALID: status.INVALID_ARGUMENT,
  TOO_MANY_WORKERS: status.RESOURCE_EXHAUSTED,
  WORKER_UNKNOWN: status.NOT_FOUND,
  LAG_UNKNOWN: status.UNAVAILABLE,
};

/** What is known of workers, as far as KEDA may ask. */
interface Watches {
  of(ref: WorkerRef): Pick<WorkerWatch, "ask" | "subscribe">;
}

/**
 * What KEDA calls. An error keeps the replicas as they are (KEDA 2.21, scale_scaledobjects.go, `isError && Fallback == nil`; the HPA does nothing
 * without its metric), so nothing that is not confirmed is ever answered as 0.
 *
 * `StreamMetricSpec` is not implemented: what it would say follows from the ScaledObject, and KEDA then asks `GetMetricSpec`.
 */
export class ScalerServer implements Service {
  readonly name = "grpc-server";
  readonly #port: number;
  readonly #watches: Watches;
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #times: ConnectionTimes;
  /** Each with what makes it hear nothing more. */
  readonly #streams = new Map<ActiveStream, () => void>();
  readonly #server: Server;
  #boundPort: number | undefined;

  constructor(options: {
    readonly port: number;
    readonly watches: Watches;
    readonly metrics: Metrics;
    readonly log: Log;
    readonly times?: Partial<ConnectionTimes>;
  }) {
    this.#port = options.port;
    this.#watches = options.watches;
    this.#metrics = options.metrics;
    this.#log = options.log;
    this.#times = { ...TIMES, ...options.times };
    this.#server = new Server(serverOptions(this.#times));
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
    for (const stream of [...this.#streams.keys()]) this.#end(stream);
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
      const said = { worker: ref.worker, peer: stream.getPeer() };
      const unsubscribe = watch.subscribe((isActive) => stream.write({ result: isActive }));
      const aged = setTimeout(() => this.#end(stream), this.#times.ageMs * STREAM_OUTLIVES);
      const release = (): void => {
        if (!this.#streams.delete(stream)) return;
        unsubscribe();
        clearTimeout(aged);
        this.#metrics.scalerStreams.set(this.#streams.size);
        this.#log.info("stream.closed", said);
      };
      this.#streams.set(stream, release);
      this.#metrics.scalerStreams.set(this.#streams.size);
      this.#log.info("stream.opened", said);
      // By KEDA, or by a lost connection.
      for (const event of ["cancelled", "finish", "close", "error"]) stream.once(event, release);
      if (stream.cancelled) release();
    } catch (error) {
      stream.emit("error", this.#problem(error));
    }
  }

  /** Told something after its end it would end with an error, after which KEDA comes again ever later. */
  #end(stream: ActiveStream): void {
    this.#streams.get(stream)?.();
    stream.end();
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
