import type { V1EnvVar, V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import type { Check } from "../helm/chart-files.ts";
import { given } from "../helm/collections.ts";
import { allOf, anyOf, filled, not, raw } from "../helm/expression.ts";
import type { Templated } from "../helm/templated.ts";
import { v } from "../values.ts";

/** Where the services send the spans of jobs, by OpenTelemetry's own variables. Credentials are a file, never in the environment. */
const { endpoint, samplePercent, headers } = v.tracing;
const FOLDER = "/etc/otlp";
const FILE = "headers";

const isTraced = filled(endpoint);
const hasHeaders = allOf(isTraced, filled(headers.existingSecret));
const ratio = raw(`printf "%d.%02d" (div ${samplePercent.code} 100) (mod ${samplePercent.code} 100)`);

export const tracingEnvironment = (): Templated<V1EnvVar>[] => [
  given(isTraced, { name: "OTEL_EXPORTER_OTLP_ENDPOINT", value: endpoint }),
  given(isTraced, { name: "OTEL_TRACES_SAMPLER", value: "parentbased_traceidratio" }),
  given(isTraced, { name: "OTEL_TRACES_SAMPLER_ARG", value: ratio }),
  given(hasHeaders, { name: "OTLP_HEADERS_FILE", value: `${FOLDER}/${FILE}` }),
];

export const tracingVariables = [
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_TRACES_SAMPLER",
  "OTEL_TRACES_SAMPLER_ARG",
  "OTLP_HEADERS_FILE",
];

export const tracingVolumes = (): Templated<V1Volume>[] => [
  given(hasHeaders, {
    name: "otlp-headers",
    secret: { secretName: headers.existingSecret, defaultMode: 0o440, items: [{ key: headers.key, path: FILE }] },
  }),
];

export const tracingMounts = (): Templated<V1VolumeMount>[] => [
  given(hasHeaders, { name: "otlp-headers", mountPath: FOLDER, readOnly: true }),
];

export const tracingChecks: Check[] = [
  {
    unless: anyOf(not(filled(headers.existingSecret)), filled(headers.key)).code,
    message: "tracing.headers.existingSecret is set, but key does not say what of it has the headers.",
  },
];
