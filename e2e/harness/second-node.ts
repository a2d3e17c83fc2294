import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { V1Node, V1Pod, V1Taint } from "@kubernetes/client-node";
import { Watch } from "../../libs/kube/watch.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { ClusterLayout, stateHome } from "../../scripts/cluster/layout.ts";
import type { NodeLayout } from "../../scripts/cluster/node-layout.ts";
import { testProfile } from "../../scripts/install/profile.ts";
import { installSteps } from "../../scripts/install/steps.ts";
import { Changes } from "./changes.ts";
import type { Installation } from "./installation.ts";
import { LocalVolume } from "./local-volume.ts";

const NODE = "node1";
const UNREACHABLE = "node.kubernetes.io/unreachable";
const SERVICES = ["monitor", "dispatcher"] as const;
/** Longer than the cluster takes to give a node up, and than a node takes to start with all its pods. */
const NODE_MS = 180_000;

/** Raw messages with this `nodeSelector` run on the nodes that were labelled by `here`. */
export const HERE = { matchKey: "e2e/here", matchValue: "yes" } as const;

interface NodeState {
  readonly name: string;
  readonly uid: string;
  readonly taints: readonly V1Taint[];
  readonly ready: boolean;
}

/**
 * The tests' cluster with a second real node, which may be cut off, lose its power and come back.
 *
 *   joined → (dark → killed → back)* → taken away
 */
export class SecondNode implements AsyncDisposable {
  readonly #millrace: Installation;
  readonly #layout: NodeLayout;
  /** Its disk. */
  readonly volume = new LocalVolume({ name: "e2e-node1", node: NODE });

  private constructor(millrace: Installation) {
    this.#millrace = millrace;
    this.#layout = new ClusterLayout({ name: millrace.cluster.name, stateHome: stateHome() }).node(NODE);
  }

  /** Joins it, with all images. The services are put on it by `lead`; meanwhile there are none. */
  static async join(millrace: Installation): Promise<SecondNode> {
    const node = new SecondNode(millrace);
    const joined = async (): Promise<void> => {
      await millrace.cluster.up({ nodes: 2 });
      const [, images] = installSteps(testProfile);
      await images?.run(() => {});
    };
    await Promise.all([joined(), node.#scale(0), node.volume.create((args, input) => millrace.kubectl(args, input))]);
    return node;
  }

  /** As it was before; the services' pods on it are made anew on the other. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#millrace.cluster.up({ nodes: 1 });
    // `lead` may have been cut off anywhere.
    await this.#kubectl("uncordon", "node0");
    await this.#kubectl("label", "nodes", "--all", `${HERE.matchKey}-`);
    await this.volume.remove((args) => this.#millrace.kubectl(args));
    await this.#scale(2);
  }

  /** Of each service one replica on each node, the leader on this one: it is the first that comes. */
  async lead(): Promise<void> {
    await this.#kubectl("cordon", "node0");
    await this.#scale(1);
    await this.#kubectl("uncordon", "node0");
    await this.#kubectl("cordon", NODE);
    await this.#scale(2);
    await this.#kubectl("uncordon", NODE);
  }

  /** Gives the label that jobs ask for to one more node. */
  async here(node: "node0" | "node1"): Promise<void> {
    await this.#kubectl("label", "node", node, `${HERE.matchKey}=${HERE.matchValue}`, "--overwrite");
  }

  /** The names of the services' pods that are on it. */
  async pods(): Promise<string[]> {
    const { namespace } = this.#millrace.names;
    const found = await this.#kubectl(
      ...["-n", namespace, "get", "pods", "--field-selector", `spec.nodeName=${NODE}`],
      ...["-o", "jsonpath={.items[*].metadata.name}"],
    );
    return found.split(" ").filter((name) => name !== "");
  }

  /** Nothing is heard of it any more, while all that runs on it goes on. */
  goDark(): Promise<void> {
    return this.#millrace.cluster.switchCable(NODE, "down");
  }

  async losePower(): Promise<void> {
    await this.#millrace.cluster.killNode(NODE);
  }

  async comeBack(): Promise<void> {
    await this.#millrace.cluster.up();
    await this.#find(`${NODE} to be ready`, ({ taints, ready }) => ready && !taints.some(({ key }) => key === UNREACHABLE));
  }

  /** When the cluster gave it up. */
  async givenUp(): Promise<Date> {
    const isMark = ({ key, effect }: V1Taint): boolean => key === UNREACHABLE && effect === "NoExecute";
    const { taints } = await this.#find(`${NODE} to be given up`, ({ taints: all }) => all.some(isMark));
    const since = taints.find(isMark)?.timeAdded;
    if (since === undefined) throw new Error(`${NODE} is marked ${UNREACHABLE}, but not since when: ${JSON.stringify(taints)}`);
    return new Date(since);
  }

  /** Whether all the containers have ended, by its own runtime's word: there is no other way to look into the dark. */
  async haveEnded(pods: readonly V1Pod[]): Promise<boolean> {
    const runtime = join(this.#layout.containerdDir, "root/io.containerd.grpc.v1.cri/containers");
    const ids = pods.flatMap(({ status }) => (status?.containerStatuses ?? []).map(({ containerID }) => containerID ?? ""));
    const ends = ids.map((id) => JSON.parse(readFileSync(join(runtime, id.replace("containerd://", ""), "status"), "utf8")));
    return ends.length === pods.length && ends.every(({ FinishedAt: finishedAt }) => finishedAt > 0);
  }

  async #find(what: string, matches: (node: NodeState) => boolean): Promise<NodeState> {
    const changes = new Changes();
    const watch = new Watch<NodeState>({
      client: this.#millrace.kube,
      path: "/api/v1/nodes",
      selector: { fieldSelector: `metadata.name=${NODE}` },
      project: (object) => nodeState(object as V1Node),
      onChange: () => changes.announce(),
      log: silentLog,
    });
    const seen = (): NodeState[] => [...watch.values()];
    // The first list may be long in coming, too.
    const started = watch.start();
    try {
      return await changes.until(() => seen().find(matches), { what: what, limitMs: NODE_MS, seen });
    } finally {
      await Promise.all([started, watch.stop()]);
    }
  }

  async #scale(replicas: number): Promise<void> {
    const deployments = SERVICES.map((service) => `deployment/${testProfile.release}-${service}`);
    await this.#kubectl("-n", testProfile.namespace, "scale", ...deployments, `--replicas=${replicas}`);
    if (replicas > 0) await this.#rolledOut();
    else {
      const selector = `app.kubernetes.io/component in (${SERVICES.join(",")})`;
      await this.#kubectl("-n", testProfile.namespace, "wait", "--for=delete", "pods", "-l", selector, "--timeout=60s");
    }
  }

  async #rolledOut(): Promise<void> {
    for (const service of SERVICES) {
      const deployment = `deployment/${testProfile.release}-${service}`;
      await this.#kubectl("-n", testProfile.namespace, "rollout", "status", deployment, "--timeout=120s");
    }
  }

  #kubectl(...args: readonly string[]): Promise<string> {
    return this.#millrace.kubectl(args);
  }
}

function nodeState(node: V1Node): NodeState {
  return {
    name: node.metadata?.name ?? "",
    uid: node.metadata?.uid ?? "",
    taints: node.spec?.taints ?? [],
    ready: node.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false,
  };
}
