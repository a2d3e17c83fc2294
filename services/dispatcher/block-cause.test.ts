import { expect, it } from "vitest";
import { KubeApiError } from "../../libs/kube/errors.ts";
import { blockCause } from "./block-cause.ts";

it.each([
  [403, 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1', "quota"],
  [409, "the object has been modified", "quota"],
  [403, "jobs.batch is forbidden: policy", "forbidden"],
  [401, "", "unauthorized"],
  [404, 'namespaces "jobs" not found', "noNamespace"],
  [429, "", "throttled"],
  [500, "", "unavailable"],
  [503, "", "unavailable"],
  [0, "", "noAnswer"],
  [405, "", "other"],
])("D8: %d %s is %s", (status, message, cause) => {
  expect(blockCause(new KubeApiError({ status, reason: "", message }))).toBe(cause);
});
