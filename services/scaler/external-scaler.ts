import { loadPackageDefinition, type ServiceDefinition } from "@grpc/grpc-js";
import { fromJSON, type Options, type PackageDefinition } from "@grpc/proto-loader";
import descriptor from "./externalscaler.json" with { type: "json" };

/**
 * KEDA's protocol for scalers that are not its own. `externalscaler.json` is what `externalscaler.proto` says, for a bundle is one file and reads no
 * others; a test compares them.
 */
export const EXTERNAL_SCALER: ServiceDefinition = serviceOf(
  // Its type wants fields of a namespace, which has none.
  fromJSON(descriptor as unknown as Parameters<typeof fromJSON>[0], loadOptions()),
);

export function loadOptions(): Options {
  return { longs: Number, defaults: true };
}

export function serviceOf(definition: PackageDefinition): ServiceDefinition {
  const loaded = loadPackageDefinition(definition)["externalscaler"];
  const service = loaded !== undefined && "ExternalScaler" in loaded ? loaded["ExternalScaler"] : undefined;
  if (typeof service !== "function" || !("service" in service)) throw new TypeError("the definition has no ExternalScaler");
  return service.service;
}

/** What KEDA says of a ScaledObject with every call: all of its trigger's metadata, as written. */
export interface ScaledObjectRef {
  readonly name: string;
  readonly namespace: string;
  readonly scalerMetadata: Readonly<Record<string, string>>;
}

export interface IsActiveResponse {
  readonly result: boolean;
}

export interface GetMetricSpecResponse {
  readonly metricSpecs: readonly {
    readonly metricName: string;
    readonly targetSize: number;
    readonly targetSizeFloat: number;
  }[];
}

export interface GetMetricsRequest {
  readonly scaledObjectRef: ScaledObjectRef | null;
  readonly metricName: string;
}

export interface GetMetricsResponse {
  readonly metricValues: readonly {
    readonly metricName: string;
    readonly metricValue: number;
    readonly metricValueFloat: number;
  }[];
}
