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

const mounts: Mount[] = [
  {
    volume: "nats-auth",
    folder: "/etc/nats-auth",
    secret: auth.existingSecret,
    files: [
      { variable: "NATS_CREDS_FILE", key: auth.credsKey, file: "creds" },
      { variable: "NATS_TOKEN_FILE", key: auth.tokenKey, file: "token" },
      { variable: "NATS_NKEY_FILE", key: auth.nkeyKey, file: "nkey" },
      { variable: "NATS_PASSWORD_FILE", key: auth.passwordKey, file: "password" },
    ],
  },
  {
    volume: "nats-tls",
    folder: "/etc/nats-tls",
    secret: tls.existingSecret,
    files: [
      { variable: "NATS_TLS_CA_FILE", key: tls.caKey, file: "ca.crt" },
      { variable: "NATS_TLS_CERT_FILE", key: tls.certKey, file: "tls.crt" },
      { variable: "NATS_TLS_KEY_FILE", key: tls.keyKey, file: "tls.key" },
    ],
  },
];

export const natsClientVariables = [
  "NATS_URL",
  "NATS_USER",
  ...mounts.flatMap(({ files }) => files.map(({ variable }) => variable)),
];

export const natsClientEnvironment = (): Templated<V1EnvVar>[] => [
  { name: "NATS_URL", value: unexpanded(natsUrl) },
  given(filled(auth.user), { name: "NATS_USER", value: unexpanded(auth.user) }),
  ...mounts.flatMap(({ secret, folder, files }) =>
    files.map(({ variable, key, file }) =>
      given(allOf(filled(secret), filled(key)), { name: variable, value: `${folder}/${file}` }),
    ),
  ),
];

/** Only the keys that are named: what else the Secret holds is not for these pods. */
export const natsClientVolumes = (): Templated<V1Volume>[] =>
  mounts.map(({ volume, secret, files }) =>
    given(filled(secret), {
      name: volume,
      secret: {
        secretName: secret,
        defaultMode: 0o440,
        items: files.map(({ key, file }) => given(filled(key), { key, path: file })),
      },
    }),
  );

export const natsClientMounts = (): Templated<V1VolumeMount>[] =>
  mounts.map(({ volume, folder, secret }) => given(filled(secret), { name: volume, mountPath: folder, readOnly: true }));

const waysOfAuth = `len (without (list ${[auth.credsKey, auth.tokenKey, auth.nkeyKey, auth.passwordKey].map(({ code }) => code).join(" ")}) "")`;

export const natsClientChecks: Check[] = [
  {
    unless: anyOf(v.nats.enabled, filled(external.url)).code,
    message: "nats.enabled is false, so nats.external.url must say which NATS to use, such as nats://nats.example.org:4222.",
  },
  {
    unless: not(allOf(v.nats.enabled, filled(external.url))).code,
    message: `nats.external.url is ${external.url}, but nats.enabled is true: set it to false to use that NATS, or remove the address.`,
  },
  {
    unless: `eq (${waysOfAuth}) (ternary 1 0 (${filled(auth.existingSecret).code}))`,
    message:
      "nats.auth: existingSecret and exactly one of credsKey, tokenKey, nkeyKey and passwordKey belong together: the Secret, and which key of it is used in which way.",
  },
  {
    unless: `eq (empty ${auth.user.code}) (empty ${auth.passwordKey.code})`,
    message: "nats.auth: user and passwordKey belong together.",
  },
  {
    unless: anyOf(not(filled(tls.existingSecret)), filled(tls.caKey), filled(tls.certKey)).code,
    message: "nats.tls.existingSecret is set, but neither caKey nor certKey says what is in it.",
  },
  {
    unless: `eq (empty ${tls.certKey.code}) (empty ${tls.keyKey.code})`,
    message: "nats.tls: certKey and keyKey belong together.",
  },
];

/** Nobody who reaches a NATS without credentials is asked who they are. */
export const withoutAuth = not(filled(auth.existingSecret));
