import type { V1EnvVar, V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import type { Check } from "../helm/chart-files.ts";
import { given } from "../helm/collections.ts";
import { allOf, anyOf, choose, type Expression, filled, not } from "../helm/expression.ts";
import type { Templated } from "../helm/templated.ts";
import { named, release, unexpanded } from "../release.ts";
import { v } from "../values.ts";

/** How a pod of the chart reaches NATS: the release's own or another, with which credentials and certificates. */
const { auth, tls, external } = v.nats;
export const NATS_CLIENT_PORT = 4222;

const bundledUrl = `nats://${named("nats")}.${release.namespace}.svc:${NATS_CLIENT_PORT}`;
export const natsUrl = choose(v.nats.enabled, bundledUrl, external.url);

/** A key of a Secret, which becomes a file, of which a variable tells. */
type SecretFile = { variable: string; key: Expression<string>; file: string };
type Mount = { volume: string; folder: string; secret: Expression<string>; files: SecretFile[] };

/** Who a pod is for NATS, and whom it trusts. */
type Credentials = { auth: typeof v.nats.auth; tls: typeof v.nats.tls };

/** All of the one Secret when it is named, else all of the other; never a part of each. */
function eitherOf<Values extends { existingSecret: Expression<string> }>(one: Values, other: Values): Values {
  const keys = Object.keys(one) as (keyof Values)[];
  const given = filled(one.existingSecret);
  return Object.fromEntries(
    keys.map((key) => [key, choose(given, one[key] as Expression<string>, other[key] as Expression<string>)]),
  ) as Values;
}

/** The services, the test, and whoever else is Millrace itself. */
export const engine: Credentials = { auth, tls };

export const workers: Credentials = { auth: eitherOf(v.workerNats.auth, auth), tls: eitherOf(v.workerNats.tls, tls) };

const mountsOf = (of: Credentials): Mount[] => [
  {
    volume: "nats-auth",
    folder: "/etc/nats-auth",
    secret: of.auth.existingSecret,
    files: [
      { variable: "NATS_CREDS_FILE", key: of.auth.credsKey, file: "creds" },
      { variable: "NATS_TOKEN_FILE", key: of.auth.tokenKey, file: "token" },
      { variable: "NATS_NKEY_FILE", key: of.auth.nkeyKey, file: "nkey" },
      { variable: "NATS_PASSWORD_FILE", key: of.auth.passwordKey, file: "password" },
    ],
  },
  {
    volume: "nats-tls",
    folder: "/etc/nats-tls",
    secret: of.tls.existingSecret,
    files: [
      { variable: "NATS_TLS_CA_FILE", key: of.tls.caKey, file: "ca.crt" },
      { variable: "NATS_TLS_CERT_FILE", key: of.tls.certKey, file: "tls.crt" },
      { variable: "NATS_TLS_KEY_FILE", key: of.tls.keyKey, file: "tls.key" },
    ],
  },
];

export const natsClientVariables = [
  "NATS_URL",
  "NATS_USER",
  ...mountsOf(engine).flatMap(({ files }) => files.map(({ variable }) => variable)),
];

export const natsClientEnvironment = (of = engine): Templated<V1EnvVar>[] => [
  { name: "NATS_URL", value: unexpanded(natsUrl) },
  given(filled(of.auth.user), { name: "NATS_USER", value: unexpanded(of.auth.user) }),
  ...mountsOf(of).flatMap(({ secret, folder, files }) =>
    files.map(({ variable, key, file }) =>
      given(allOf(filled(secret), filled(key)), { name: variable, value: `${folder}/${file}` }),
    ),
  ),
];

/** Only the keys that are named: what else the Secret holds is not for these pods. */
export const natsClientVolumes = (of = engine): Templated<V1Volume>[] =>
  mountsOf(of).map(({ volume, secret, files }) =>
    given(filled(secret), {
      name: volume,
      secret: {
        secretName: secret,
        defaultMode: 0o440,
        items: files.map(({ key, file }) => given(filled(key), { key, path: file })),
      },
    }),
  );

export const natsClientMounts = (of = engine): Templated<V1VolumeMount>[] =>
  mountsOf(of).map(({ volume, folder, secret }) => given(filled(secret), { name: volume, mountPath: folder, readOnly: true }));

/** One Secret, and what of it is used in which way. */
function credentialChecks(path: string, { auth: of, tls: certificates }: Credentials): Check[] {
  const ways = [of.credsKey, of.tokenKey, of.nkeyKey, of.passwordKey].map(({ code }) => code).join(" ");
  return [
    {
      unless: `eq (len (without (list ${ways}) "")) (ternary 1 0 (${filled(of.existingSecret).code}))`,
      message: `${path}.auth: existingSecret and exactly one of credsKey, tokenKey, nkeyKey and passwordKey belong together: the Secret, and which key of it is used in which way.`,
    },
    {
      unless: `eq (empty ${of.user.code}) (empty ${of.passwordKey.code})`,
      message: `${path}.auth: user and passwordKey belong together.`,
    },
    {
      unless: anyOf(not(filled(certificates.existingSecret)), filled(certificates.caKey), filled(certificates.certKey)).code,
      message: `${path}.tls.existingSecret is set, but neither caKey nor certKey says what is in it.`,
    },
    {
      unless: `eq (empty ${certificates.certKey.code}) (empty ${certificates.keyKey.code})`,
      message: `${path}.tls: certKey and keyKey belong together.`,
    },
  ];
}

export const natsClientChecks: Check[] = [
  {
    unless: anyOf(v.nats.enabled, filled(external.url)).code,
    message: "nats.enabled is false, so nats.external.url must say which NATS to use, such as nats://nats.example.org:4222.",
  },
  {
    unless: not(allOf(v.nats.enabled, filled(external.url))).code,
    message: `nats.external.url is ${external.url}, but nats.enabled is true: set it to false to use that NATS, or remove the address.`,
  },
  ...credentialChecks("nats", engine),
  ...credentialChecks("workerNats", v.workerNats),
];

/** Nobody who reaches a NATS without credentials is asked who they are. */
export const withoutAuth = not(filled(auth.existingSecret));
