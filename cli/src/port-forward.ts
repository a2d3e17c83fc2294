import type { AddressInfo } from "node:net";
import { createServer, type Server, type Socket } from "node:net";
import { CoreV1Api, KubeConfig, PortForward } from "@kubernetes/client-node";
import { errorText, MillraceError } from "../../libs/contract/errors.ts";

/** A local port that leads to a Service's pod through the API server, for as long as it is open. */
export interface Tunnel extends AsyncDisposable {
  readonly port: number;
}

export interface ServiceAddress {
  /** A kubeconfig file; without it `KUBECONFIG`, then the default place. */
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  readonly namespace: string;
  readonly service: string;
  readonly port: number;
}

/**
 * What `kubectl port-forward svc/…` does, so that nobody needs a second shell: finds a ready pod of the Service and forwards each
 * connection to it. Uses the user's kubeconfig with all its credential plug-ins.
 */
export async function openTunnel(address: ServiceAddress): Promise<Tunnel> {
  const config = new KubeConfig();
  if (address.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(address.kubeconfig);
  if (address.context !== undefined) {
    if (config.getContextObject(address.context) === null) {
      const known = config.getContexts().map(({ name }) => name);
      throw new MillraceError("CONTEXT_UNKNOWN", `the kubeconfig has no context ${address.context}; it has: ${known.join(", ")}`);
    }
    config.setCurrentContext(address.context);
  }
  const pod = await readyPod(config, address);
  const forward = new PortForward(config);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    join(socket, forward, address, pod).catch(() => socket.destroy());
  });
  await listen(server);
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      await promise;
    },
  };
}

async function readyPod(config: KubeConfig, address: ServiceAddress): Promise<string> {
  const where = `service ${address.service} in namespace ${address.namespace} (context ${config.getCurrentContext()})`;
  try {
    const core = config.makeApiClient(CoreV1Api);
    const service = await core.readNamespacedService({ name: address.service, namespace: address.namespace });
    const labelSelector = Object.entries(service.spec?.selector ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(",");
    const pods = await core.listNamespacedPod({ namespace: address.namespace, labelSelector });
    const ready = pods.items.find((pod) =>
      pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True"),
    );
    const name = ready?.metadata?.name;
    if (name !== undefined) return name;
  } catch (error) {
    const hint = "check the context, --namespace and --release, or give --server with an address of NATS";
    throw new MillraceError("KUBE_UNREACHABLE", `cannot reach ${where}: ${errorText(error).split("\n")[0]}; ${hint}`, {
      cause: error,
    });
  }
  throw new MillraceError("NATS_NOT_READY", `${where} has no ready pod; see why with kubectl describe pod`);
}

/** The two ends close together: an open stream to the API server would keep the process alive after its work is done. */
async function join(socket: Socket, forward: PortForward, address: ServiceAddress, pod: string): Promise<void> {
  const opened = await forward.portForward(address.namespace, pod, [address.port], socket, null, socket);
  const stream = typeof opened === "function" ? opened() : opened;
  if (stream === null) throw new MillraceError("KUBE_UNREACHABLE", "the API server closed the port-forward at once");
  stream.addEventListener("close", () => socket.destroy());
  socket.once("close", () => stream.close());
  if (socket.destroyed) stream.close();
}

async function listen(server: Server): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(0, "127.0.0.1", () => resolve());
  await promise;
}
