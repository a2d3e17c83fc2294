import type { KubeApiError } from "../../libs/kube/errors.ts";

/** Why a namespace accepts no Jobs (rule D8), as a label: few words, whatever the API server says. */
export const BLOCK_CAUSES = [
  "quota",
  "forbidden",
  "unauthorized",
  "noNamespace",
  "throttled",
  "unavailable",
  "noAnswer",
  "other",
] as const;
export type BlockCause = (typeof BLOCK_CAUSES)[number];

export function blockCause(error: KubeApiError): BlockCause {
  const { status } = error;
  if (error.isQuota()) return "quota";
  if (status >= 500) return "unavailable";
  switch (status) {
    case 0:
      return "noAnswer";
    case 401:
      return "unauthorized";
    case 403:
      return "forbidden";
    case 404:
      return "noNamespace";
    // The quota admission lost its race to write the usage down.
    case 409:
      return "quota";
    case 429:
      return "throttled";
    default:
      return "other";
  }
}
