import { expect, it } from "vitest";
import { EXTERNAL_SCALER } from "./external-scaler.ts";
import { KEDA_SERVICE } from "./testing/keda-client.ts";

const shape = (service: typeof EXTERNAL_SCALER) =>
  Object.values(service).map(({ path, requestStream, responseStream, ...rest }) => ({
    path,
    requestStream,
    responseStream,
    request: "requestType" in rest ? rest.requestType : undefined,
    response: "responseType" in rest ? rest.responseType : undefined,
  }));

it("what is bundled is what KEDA's file says", () => {
  expect(shape(EXTERNAL_SCALER).map(({ path }) => path)).toEqual(
    ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics", "StreamMetricSpec"].map(
      (method) => `/externalscaler.ExternalScaler/${method}`,
    ),
  );
  const plain = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value, (key, inner) => (key === "fileDescriptorProtos" ? undefined : inner)));
  expect(plain(shape(EXTERNAL_SCALER))).toEqual(plain(shape(KEDA_SERVICE)));
});
