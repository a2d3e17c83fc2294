import { parseStrictJson } from "../../libs/contract/json.ts";
import { pathText } from "../../libs/contract/message.ts";
import type { StandardIssue, StandardResult } from "./standard-schema.ts";
import type { Worker } from "./worker.ts";

export type OpenedData = { readonly kind: "ok"; readonly data: unknown } | { readonly kind: "invalid"; readonly reason: string };

const DEPTH = 64;
const REASON_CHARACTERS = 500;

/**
 * What a handler is given as `ctx.data`, or why the body can never be handled (K2: the raw bytes go to the DLQ, whatever they are). At once, unless its
 * schema takes its time.
 */
export function openData({ body, schema }: Pick<Worker, "body" | "schema">, bytes: Uint8Array): OpenedData | Promise<OpenedData> {
  if (body === "bytes") return { kind: "ok", data: new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  const json = parseStrictJson(bytes, DEPTH);
  if (json.kind === "invalid") return { kind: "invalid", reason: json.problem };
  if (schema === undefined) return { kind: "ok", data: json.value };
  const result = schema["~standard"].validate(json.value);
  return "then" in result ? Promise.resolve(result).then(checked) : checked(result);
}

function checked(result: StandardResult<unknown>): OpenedData {
  if (result.issues === undefined) return { kind: "ok", data: result.value };
  return { kind: "invalid", reason: reasonOf(result.issues) };
}

/** Where, and what the schema says of it; never the value itself. */
function reasonOf(issues: readonly StandardIssue[]): string {
  const [first] = issues;
  if (first === undefined) return "the schema refused the body";
  const path = pathText((first.path ?? []).map((step) => (typeof step === "object" ? step.key : step)));
  const more = issues.length === 1 ? "" : ` (and ${issues.length - 1} more)`;
  const said = first.message.split(/[\r\n]/)[0] ?? "";
  return `${path === "" ? "the body" : path}: ${said}`.slice(0, REASON_CHARACTERS) + more;
}
