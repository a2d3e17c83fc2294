import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { MillraceError } from "../contract/errors.ts";

/** PEM. */
export interface KubeTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** How to reach the API server and who we are there. Whatever is a file is rotated while we run. */
export interface KubeAccess {
  readonly server: string;
  /** As it is at the moment: asked for each connection that is opened. */
  tls(): Promise<KubeTls>;
  /**
   * The value of `Authorization`; undefined with a client certificate.
   * `refused`: one that the server answered with 401, so that a copy of it is not good enough.
   */
  authorization(refused?: string): Promise<string | undefined>;
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Projected tokens are rotated by the kubelet well before they expire; a minute-old copy is always valid. */
const TOKEN_CACHE_MS = 60_000;

class TokenFile {
  readonly #path: string;
  #token = "";
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(path: string) {
    this.#path = path;
  }

  async read(refused: string | undefined): Promise<string> {
    const isOld = performance.now() - this.#readAtMs > TOKEN_CACHE_MS;
    if (isOld || (refused !== undefined && refused === bearer(this.#token))) {
      this.#token = (await readFile(this.#path, "utf8")).trim();
      this.#readAtMs = performance.now();
    }
    return this.#token;
  }
}

function bearer(token: string): string {
  return `Bearer ${token}`;
}

/** In a pod the mounted ServiceAccount, else the current context of the kubeconfig. */
export async function loadKubeAccess(env: NodeJS.ProcessEnv): Promise<KubeAccess> {
  const inCluster = await stat(`${SERVICE_ACCOUNT}/token`).then(
    () => true,
    () => false,
  );
  if (inCluster && env["KUBERNETES_SERVICE_HOST"] !== undefined) return inClusterAccess(env);
  return kubeconfigAccess(env["KUBECONFIG"] ?? join(homedir(), ".kube", "config"));
}

async function inClusterAccess(env: NodeJS.ProcessEnv): Promise<KubeAccess> {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const token = new TokenFile(`${SERVICE_ACCOUNT}/token`);
  const tls = async (): Promise<KubeTls> => ({ ca: await readFile(`${SERVICE_ACCOUNT}/ca.crt`, "utf8") });
  await tls();
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${env["KUBERNETES_SERVICE_PORT"] ?? "443"}`,
    tls,
    authorization: async (refused) => bearer(await token.read(refused)),
  };
}

const kubeconfig = z.object({
  "current-context": z.string().default(""),
  contexts: z.array(z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: z.string() }) })).default([]),
  clusters: z
    .array(
      z.object({
        name: z.string(),
        cluster: z.object({
          server: z.string(),
          "certificate-authority-data": z.string().optional(),
          "certificate-authority": z.string().optional(),
        }),
      }),
    )
    .default([]),
  users: z
    .array(
      z.object({
        name: z.string(),
        user: z.object({
          token: z.string().optional(),
          tokenFile: z.string().optional(),
          "client-certificate-data": z.string().optional(),
          "client-certificate": z.string().optional(),
          "client-key-data": z.string().optional(),
          "client-key": z.string().optional(),
        }),
      }),
    )
    .default([]),
});

/** Certificates and tokens only: credential plug-ins belong to people's tools (`cli`), not to services. */
export async function kubeconfigAccess(path: string, contextName?: string): Promise<KubeAccess> {
  const config = kubeconfig.parse(parse(await readFile(path, "utf8")));
  const wanted = contextName ?? config["current-context"];
  const context = config.contexts.find(({ name }) => name === wanted)?.context;
  const cluster = config.clusters.find(({ name }) => name === context?.cluster)?.cluster;
  const user = config.users.find(({ name }) => name === context?.user)?.user;
  if (cluster === undefined || user === undefined) {
    throw new MillraceError(
      "KUBECONFIG_INVALID",
      `${path} has no usable context "${wanted}"; choose one with kubectl config use-context`,
    );
  }
  const pem = async (data: string | undefined, file: string | undefined): Promise<string | undefined> => {
    if (data !== undefined) return Buffer.from(data, "base64").toString();
    return file === undefined ? undefined : await readFile(file, "utf8");
  };
  const tls = async (): Promise<KubeTls> => {
    const ca = await pem(cluster["certificate-authority-data"], cluster["certificate-authority"]);
    const cert = await pem(user["client-certificate-data"], user["client-certificate"]);
    const key = await pem(user["client-key-data"], user["client-key"]);
    return {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    };
  };
  await tls();
  const tokenFile = user.tokenFile === undefined ? undefined : new TokenFile(user.tokenFile);
  return {
    server: cluster.server,
    tls,
    authorization: async (refused) => {
      const token = tokenFile === undefined ? user.token : await tokenFile.read(refused);
      return token === undefined ? undefined : bearer(token);
    },
  };
}
