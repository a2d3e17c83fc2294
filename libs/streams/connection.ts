import { readFile } from "node:fs/promises";
import type { Authenticator, NatsConnection, NodeConnectionOptions } from "@nats-io/transport-node";
import {
  connect,
  credsAuthenticator,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { z } from "zod";
import { errorText, MillraceError } from "../contract/errors.ts";
import { Backoff, pause } from "../runtime/backoff.ts";

/** How to reach NATS. Secrets come as files, never as values: environments are shown by `kubectl describe`. */
export const natsEnv = {
  NATS_URL: z.string().default("nats://127.0.0.1:4222").describe("One or more servers, comma-separated"),
  NATS_CREDS_FILE: z.string().optional().describe("A .creds file (JWT and seed)"),
  NATS_NKEY_FILE: z.string().optional().describe("A file with an nkey seed"),
  NATS_TOKEN_FILE: z.string().optional().describe("A file with a token"),
  NATS_USER: z.string().optional(),
  NATS_PASSWORD_FILE: z.string().optional().describe("A file with the password of NATS_USER"),
  NATS_TLS_CA_FILE: z.string().optional(),
  NATS_TLS_CERT_FILE: z.string().optional(),
  NATS_TLS_KEY_FILE: z.string().optional(),
} as const;

const settings = z.object(natsEnv);
export type NatsSettings = z.output<typeof settings>;

/** The oldest servers on which the protocol holds: work-queue and last-sequence fixes (nats-server #7845, #8106, #8156). */
const MINIMUM = [
  [2, 12, 10],
  [2, 14, 2],
] as const;

/**
 * Connects as soon as NATS answers, so that a service and its broker may start in any order; then reconnects for ever.
 * @throws MillraceError `NATS_TOO_OLD`; `NATS_UNREACHABLE` when there is no `onUnreachable` to be told of failed tries instead; `START_CANCELLED`
 * after the signal
 */
export async function connectNats(options: {
  readonly settings: NatsSettings;
  readonly name: string;
  readonly onUnreachable?: (problem: string) => void;
  /** Aborted: it tries no more. */
  readonly signal?: AbortSignal;
}): Promise<NatsConnection> {
  const connection = await openAtLast(options);
  const version = connection.info?.version ?? "";
  if (isSupported(version)) return connection;
  await connection.close();
  const wanted = MINIMUM.map((parts) => parts.join(".")).join(" or ");
  throw new MillraceError(
    "NATS_TOO_OLD",
    `nats-server ${version} loses work-queue messages in known ways; run ${wanted} or newer`,
  );
}

async function openAtLast(options: Parameters<typeof connectNats>[0]): Promise<NatsConnection> {
  const backoff = new Backoff({ initialMs: 250, maxMs: 5_000 });
  for (;;) {
    try {
      return await open(options.settings, options.name);
    } catch (error) {
      if (options.onUnreachable === undefined) throw error;
      options.onUnreachable(errorText(error));
      await pause(backoff.nextMs(), options.signal ?? NEVER);
      if (options.signal?.aborted === true) throw new MillraceError("START_CANCELLED", "stopped before NATS was reached");
    }
  }
}

const NEVER = new AbortController().signal;

async function open(nats: NatsSettings, name: string): Promise<NatsConnection> {
  const authenticator = await authenticate(nats);
  const tls = {
    ...(nats.NATS_TLS_CA_FILE === undefined ? {} : { caFile: nats.NATS_TLS_CA_FILE }),
    ...(nats.NATS_TLS_CERT_FILE === undefined ? {} : { certFile: nats.NATS_TLS_CERT_FILE }),
    ...(nats.NATS_TLS_KEY_FILE === undefined ? {} : { keyFile: nats.NATS_TLS_KEY_FILE }),
  };
  const connectOptions: NodeConnectionOptions = {
    servers: nats.NATS_URL.split(","),
    name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    reconnectJitter: 500,
    pingInterval: 20_000,
    timeout: 10_000,
    // The client would capture two stacks for each request, in case it fails: a third of a request's cost.
    noAsyncTraces: true,
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
  };
  try {
    return await connect(connectOptions);
  } catch (error) {
    const message = `cannot connect to NATS at ${nats.NATS_URL}: ${errorText(error)}; check the address, the credentials and that it runs`;
    throw new MillraceError("NATS_UNREACHABLE", message, { cause: error });
  }
}

async function authenticate(nats: NatsSettings): Promise<Authenticator | undefined> {
  if (nats.NATS_CREDS_FILE !== undefined) return credsAuthenticator(new Uint8Array(await readFile(nats.NATS_CREDS_FILE)));
  const secret = async (path: string): Promise<string> => (await readFile(path, "utf8")).trim();
  if (nats.NATS_NKEY_FILE !== undefined) return nkeyAuthenticator(new TextEncoder().encode(await secret(nats.NATS_NKEY_FILE)));
  if (nats.NATS_TOKEN_FILE !== undefined) return tokenAuthenticator(await secret(nats.NATS_TOKEN_FILE));
  if (nats.NATS_USER === undefined) return undefined;
  const password = nats.NATS_PASSWORD_FILE === undefined ? undefined : await secret(nats.NATS_PASSWORD_FILE);
  return usernamePasswordAuthenticator(nats.NATS_USER, password);
}

/** The largest message that the streams take, and what is put around it when it fails: the headers that NATS allows. */
const NEEDED_PAYLOAD_BYTES = 1024 * 1024 + 2 * 64 * 1024;

/** For people: a message that fits once may not fit with what a retry or a DLQ entry says of it, and would be tried for ever. */
export function payloadProblems(maxPayloadBytes: number | undefined): string[] {
  if (maxPayloadBytes === undefined || maxPayloadBytes >= NEEDED_PAYLOAD_BYTES) return [];
  return [
    `NATS takes messages of at most ${maxPayloadBytes} bytes; one of nearly that size that fails would not fit into the DLQ with its headers. Set its max_payload to 2MiB`,
  ];
}

export function isSupported(version: string): boolean {
  const found = version
    .split("-")[0]
    ?.split(".")
    .map((part) => Number(part));
  if (found === undefined || found.length !== 3 || found.some((part) => Number.isNaN(part))) return false;
  const [major = 0, minor = 0, patch = 0] = found;
  const line = MINIMUM.find(([m, n]) => m === major && n === minor);
  if (line !== undefined) return patch >= line[2];
  const [newestMajor, newestMinor] = MINIMUM[1];
  return major > newestMajor || (major === newestMajor && minor > newestMinor);
}
