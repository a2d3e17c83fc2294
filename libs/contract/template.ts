import { Ajv, type ValidateFunction } from "ajv";
import type { Outcome } from "./message.ts";
import { accepted, pathText, rejected } from "./message.ts";
import type { TemplateConfig } from "./queue-config.ts";

export type Params = Readonly<Record<string, unknown>>;

/** `$$` is the kubelet's escape and stays as the author wrote it; only a real `$(params.name)` is replaced. */
const REFERENCE = /\$\$|\$\(params\.([A-Za-z0-9_-]+)\)/g;

/**
 * The kubelet expands `$(VAR)` in command, args and env values, and `$$` is its escape (k8s `third_party/forked/golang/expansion`): with
 * every `$` doubled a value arrives literally, whatever it holds. Otherwise a message could print any secret of its template's env.
 */
export function literal(text: string): string {
  return text.replaceAll("$", "$$$$");
}

export function substitute(text: string, params: Params): string {
  return text.replace(REFERENCE, (match, name: string | undefined) => {
    if (name === undefined) return match;
    const value = Object.hasOwn(params, name) ? params[name] : undefined;
    if (value === undefined) return "";
    return literal(typeof value === "string" ? value : JSON.stringify(value));
  });
}

/** Checks parameters against the template's JSON Schema and fills its defaults. Compiled once per template, at configuration time. */
export class ParamsSchema {
  readonly #validate: ValidateFunction | undefined;

  /** @throws when the schema does not compile; a `$ref` outside the schema counts, because nothing is ever fetched. */
  constructor(template: Pick<TemplateConfig, "params">) {
    if (template.params === undefined) return;
    const { $schema: _dialect, ...schema } = template.params;
    this.#validate = new Ajv({ useDefaults: true, strict: false }).compile(schema);
  }

  check(given: Params): Outcome<Params> {
    if (this.#validate === undefined) {
      const first = Object.keys(given)[0];
      return first === undefined ? accepted(given) : rejected("PARAMS_INVALID", "params", "this template takes no parameters");
    }
    const params = structuredClone(given) as Record<string, unknown>;
    if (this.#validate(params)) return accepted(params);
    const error = this.#validate.errors?.[0];
    const extra = error?.keyword === "additionalProperties" ? [String(error.params["additionalProperty"])] : [];
    const path = pathText(["params", ...pointerSteps(error?.instancePath ?? ""), ...extra]);
    return rejected("PARAMS_INVALID", path, error?.message ?? "does not match the template's schema");
  }
}

/** A JSON Pointer (RFC 6901) as steps; a number is the index of an array or looks like one. */
function pointerSteps(pointer: string): (string | number)[] {
  const steps = pointer.split("/").slice(1);
  return steps.map((step) => (/^\d+$/.test(step) ? Number(step) : step.replaceAll("~1", "/").replaceAll("~0", "~")));
}
