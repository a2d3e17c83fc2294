import fc from "fast-check";
import { durationMs, parseDurationMs } from "../../libs/contract/units.ts";
import type { Json } from "../helm/yaml.ts";
import type { Overrides } from "./schema-values.ts";

type Values = { [key: string]: Json | undefined };

const isMap = (value: Json | undefined): value is Values => typeof value === "object" && value !== null && !Array.isArray(value);

/** What a schema cannot say: names that must not repeat, sizes that must fit into each other. */
export const consistentFields: Overrides = {
  "dispatcher.extraEnv": environment(),
  "monitor.extraEnv": environment(),
  "scaler.extraEnv": environment(),
  // The volume's default size is 10Gi, and what JetStream may fill is less in any case.
  "nats.storage.size": fc.oneof(
    fc.integer({ min: 11, max: 999_999_999 }).map((n) => `${n}Gi`),
    fc.integer({ min: 1, max: 9 }).map((n) => `${n}Ti`),
  ),
  "nats.maxFileStore": fc.oneof(
    fc.integer({ min: 1, max: 8 }).map((n) => `${n}Gi`),
    fc.integer({ min: 1, max: 8_000_000 }).map((n) => `${n}Ki`),
  ),
  // YAML's document separator and the template language are for their authors to get right.
  extraObjects: fc.array(
    fc.record({ name: fc.stringMatching(/^[a-z]{1,8}$/u), text: fc.boolean() }).map(({ name, text }): Json => {
      const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: `{{ .Release.Name }}-${name}` } };
      return text ? JSON.stringify(object) : object;
    }),
    { maxLength: 2 },
  ),
};

function environment(): fc.Arbitrary<Json> {
  const name = fc.stringMatching(/^[-._a-z][-._a-zA-Z0-9]{0,9}$/u);
  return fc.uniqueArray(fc.record({ name, value: fc.string() }), { selector: (variable) => variable.name, maxLength: 3 });
}

/** Values in which nothing contradicts anything else, as the chart's own checks want it. */
export function consistent(values: Values): Values {
  for (const service of ["dispatcher", "monitor"]) account(values[service]);
  traceHeaders(values["tracing"]);
  if (isMap(values["queues"])) delete values["queues"]["work"];
  if (isMap(values["workers"])) values["workers"] = workers(values["workers"]);
  const { workerNats } = values;
  if (isMap(workerNats)) values["workerNats"] = identity(workerNats);
  const { nats } = values;
  if (!isMap(nats)) return values;
  const external = isMap(nats["external"]) ? nats["external"] : {};
  nats["external"] = { ...external, url: nats["enabled"] === false ? external["url"] || "nats://nats.example.org:4222" : "" };
  if (nats["enabled"] === false) nats["monitoring"] = { ...(nats["monitoring"] as Values), endpoint: "nats.example.org:8222" };
  values["nats"] = identity(nats);
  return values;
}

function identity(values: Values): Values {
  const { auth, tls } = values;
  return {
    ...values,
    ...(isMap(auth) ? { auth: credentials(auth) } : {}),
    ...(isMap(tls) ? { tls: certificates(tls) } : {}),
  };
}

/** Short names, and subjects of which none covers another. */
function workers(given: Values): Values {
  const entries = Object.entries(given).map(([name, worker], index): [string, Json | undefined] => {
    if (!isMap(worker)) return [name, worker];
    const { subject, min = 0, max = 10, timeout = "5m", cooldown = "30s" } = worker;
    return [
      name.length > 8 ? `w${index}` : name,
      {
        ...worker,
        subject: `w${index}.${subject}`,
        min: Math.min(Number(min), Number(max)),
        timeout: usable(String(timeout)),
        cooldown: usable(String(cooldown)),
      },
    ];
  });
  return Object.fromEntries(entries);
}

const usable = (duration: string): string =>
  parseDurationMs(duration) > 0 && durationMs.safeParse(duration).success ? duration : "1h30m";

function account(service: Json | undefined): void {
  if (!isMap(service) || !isMap(service["serviceAccount"])) return;
  if (service["serviceAccount"]["create"] === false) service["serviceAccount"]["name"] ||= "account";
}

function traceHeaders(tracing: Json | undefined): void {
  if (!isMap(tracing) || !isMap(tracing["headers"])) return;
  if (tracing["headers"]["existingSecret"]) tracing["headers"]["key"] ||= "headers";
}

const WAYS = ["credsKey", "tokenKey", "nkeyKey", "passwordKey"];

function credentials(auth: Values): Values {
  const [way] = WAYS.filter((key) => auth[key] !== undefined && auth[key] !== "");
  if (way === undefined) return {};
  const one = { existingSecret: auth["existingSecret"] || "credentials", [way]: auth[way] };
  return way === "passwordKey" ? { ...one, user: auth["user"] || "user" } : one;
}

function certificates(tls: Values): Values {
  if (!tls["existingSecret"]) return {};
  const { certKey, keyKey, caKey, existingSecret } = tls;
  const pair = certKey && keyKey ? { certKey, keyKey } : {};
  return { existingSecret, ...pair, caKey: caKey || "ca.crt" };
}
