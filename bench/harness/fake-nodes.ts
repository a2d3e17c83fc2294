import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ensureBinaries } from "../../scripts/cluster/binaries.ts";
import type { Kubectl } from "../../scripts/cluster/kubectl.ts";
import { BenchProcess } from "./processes.ts";

const LABEL = "millrace.dev/fake-node";

/** For a pod spec: only there. */
export const onFakeNodes = { nodeSelector: { [LABEL]: "true" } } as const;

/** What kwok does with objects in a certain state: `next` is what it writes, `selector` which ones. */
interface Stage {
  readonly kind: "Node" | "Pod";
  readonly labels?: Readonly<Record<string, string>>;
  readonly when: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[];
  readonly next: Readonly<Record<string, unknown>>;
}

const alive = { key: ".metadata.deletionTimestamp", operator: "DoesNotExist" } as const;
const inPhase = (phase: string) => ({ key: ".status.phase", operator: "In", values: [phase] }) as const;

const READY_NODE = `
{{ $now := Now }}
conditions:
- {type: Ready, status: "True", reason: KubeletReady, message: "", lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
allocatable: {cpu: 1k, memory: 1Ti, pods: 1M}
capacity: {cpu: 1k, memory: 1Ti, pods: 1M}
`;

/** As the kubelet writes it, as far as anybody here reads it. */
const podStatus = (phase: string, ready: string, state: string): string => `
{{ $now := Now }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: ${ready}, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: ${ready}, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: ${ready.replaceAll('"', "").toLowerCase()}, restartCount: 0, state: ${state}}
{{ end }}
phase: ${phase}
startTime: {{ or .status.startTime $now | Quote }}
`;

const RUNNING = podStatus("Running", '"True"', "{running: {startedAt: {{ $now | Quote }}}}");
const SUCCEEDED = podStatus(
  "Succeeded",
  '"False"',
  "{terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}",
);

const stages = (completes: Readonly<Record<string, string>>): Readonly<Record<string, Stage>> => ({
  "node-ready": {
    kind: "Node",
    when: [{ key: '.status.conditions.[] | select( .type == "Ready" ) | .status', operator: "NotIn", values: ["True"] }],
    next: { statusTemplate: READY_NODE },
  },
  "pod-running": { kind: "Pod", when: [alive, inPhase("Pending")], next: { statusTemplate: RUNNING } },
  "pod-succeeded": { kind: "Pod", labels: completes, when: [alive, inPhase("Running")], next: { statusTemplate: SUCCEEDED } },
  "pod-deleted": { kind: "Pod", when: [{ ...alive, operator: "Exists" }], next: { delete: true } },
});

/**
 * Nodes that are none (kwok): their pods are Running as soon as they are bound, and stay so; those with the labels `completes` succeed at once.
 * The API server, the controllers and the engine see no difference, and ten thousand pods fit on two cores.
 */
export class FakeNodes {
  readonly process: BenchProcess;

  private constructor(kwok: BenchProcess) {
    this.process = kwok;
  }

  static async start(options: {
    readonly count: number;
    readonly completes: Readonly<Record<string, string>>;
    readonly kubeconfig: string;
    readonly kubectl: Kubectl;
    /** Of its configuration and its log. */
    readonly folder: string;
    readonly progress: (line: string) => void;
  }): Promise<FakeNodes> {
    const { count, completes, kubeconfig, kubectl, folder } = options;
    const { kwok } = await ensureBinaries(["kwok"], options.progress);
    const config = join(folder, "kwok.yaml");
    // JSON is YAML.
    writeFileSync(
      config,
      Object.entries(stages(completes))
        .map(([name, stage]) => `---\n${JSON.stringify(stageObject(name, stage))}\n`)
        .join(""),
    );
    const started = new BenchProcess({
      name: "kwok",
      command: [
        kwok,
        `--config=${config}`,
        `--kubeconfig=${kubeconfig}`,
        `--manage-nodes-with-label-selector=${LABEL}`,
        "--node-ip=10.111.0.9",
        "--node-lease-duration-seconds=40",
        "--v=ERROR",
      ],
      logFile: join(folder, "kwok.log"),
    });
    const names = Array.from({ length: count }, (_, index) => `fake-${index}`);
    await kubectl.apply(
      names.map((name) => ({ apiVersion: "v1", kind: "Node", metadata: { name, labels: { [LABEL]: "true" } } })),
    );
    await kubectl.run(["wait", "--for=condition=Ready", "--timeout=60s", "nodes", "-l", LABEL]);
    return new FakeNodes(started);
  }
}

function stageObject(name: string, { kind, labels, when, next }: Stage): object {
  return {
    apiVersion: "kwok.x-k8s.io/v1alpha1",
    kind: "Stage",
    metadata: { name },
    spec: {
      resourceRef: { apiGroup: "v1", kind },
      selector: { ...(labels === undefined ? {} : { matchLabels: labels }), matchExpressions: when },
      next,
    },
  };
}
