import { errorText } from "../../libs/contract/errors.ts";
import { ClusterError } from "../cluster/cluster-error.ts";
import { likelyCauseOf } from "../cluster/likely-cause.ts";

/** What a person is told of a failure: once, with the likely fix. A program's own failure has all of that already. */
export function failureText(error: unknown): string {
  const likely = error instanceof ClusterError ? undefined : likelyCauseOf(error);
  return likely === undefined ? errorText(error) : `${errorText(error)}\n${likely.hint}`;
}
