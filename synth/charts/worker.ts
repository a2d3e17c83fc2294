import type { V1Deployment, V1EnvVar, V1LocalObjectReference, V1Toleration } from "@kubernetes/client-node";
import type { App } from "cdk8s";
import { Construct } from "constructs";
import { LABEL } from "../../libs/contract/names.ts";
import { WORKER_CONTAINER } from "../../libs/contract/worker-end.ts";
import type { Check } from "../helm/chart-files.ts";
import { given, items } from "../helm/collections.ts";
import { eachEntry, inFile, when } from "../helm/documents.ts";
import { argument, condition, Expression, not, optional, raw } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { part, podAnnotations, podLabels, RESTRICTED_CONTAINER, RESTRICTED_POD, release, selectorLabels } from "../release.ts";
import { v } from "../values.ts";
import { natsClientEnvironment, natsClientMounts, natsClientVariables, natsClientVolumes, workers } from "./nats-client.ts";
import { allowIngress } from "./network.ts";
import { scaledObject } from "./scaled-object.ts";
import { fromPod, HTTP, HTTP_PORT, podName, podNamespace, probes, type Variable } from "./service.ts";
import { serviceMonitor } from "./service-monitor.ts";
import { hasWorkers, secondsAfter, type Worker, workerChecks, workerLabels, workerName } from "./worker-values.ts";

/** After its time a handler is aborted, and killed 10 s later: the process must not go before that. */
const GRACE_SECONDS = 20;
/** What is left is for the kubelet, and for ending the process. */
const END_SECONDS = 10;

/**
 * J4, as jobs do: without these a pod stays on a lost node for five minutes, and its Deployment makes no other for it meanwhile. Who wants it to wait
 * for longer cannot: of several tolerations of a taint the shortest counts.
 */
const LEAVES_LOST_NODES: V1Toleration[] = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"].map((key) => ({
  ...{ key, operator: "Exists", effect: "NoExecute" },
  tolerationSeconds: 0,
}));

/** The users' programs: a Deployment for each, and a ScaledObject by which KEDA gives it pods. */
export function worker(app: App): Check[] {
  const chart = part(app, "worker");
  inFile(chart, "workers");
  const shared = new Construct(chart, "shared");
  when(shared, hasWorkers);
  allowIngress(shared, "worker", [HTTP_PORT]);
  serviceMonitor(shared, "worker", { name: HTTP, number: HTTP_PORT });
  const each = new Construct(chart, "each");
  const entry = eachEntry(each, "worker", v.workers);
  deployment(each, entry);
  scaledObject(each, entry);
  return workerChecks([...fixedVariables(entry).map(({ name }) => name), ...natsClientVariables]);
}

function deployment(scope: Construct, worker: Worker): void {
  const { name, values } = worker;
  const own = workerLabels(worker);
  manifest<V1Deployment>(scope, "deployment", {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: workerName(worker), labels: own },
    spec: {
      // Nobody else may set what KEDA sets: an upgrade would undo it.
      replicas: given(not(v.keda.enabled), new Expression<number>(`max ${argument(values.min)} 1`, "int")),
      strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: { ...selectorLabels("worker"), [LABEL.worker]: `${name}` } },
      template: {
        metadata: {
          labels: { ...own, [LABEL.instance]: release.instance, ...podLabels("worker", values.podLabels) },
          annotations: podAnnotations(values.podAnnotations),
        },
        spec: {
          serviceAccountName: optional(values.serviceAccountName),
          // The code is not Millrace's: it has no business with the API server.
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          // The kernel keeps from process 1 a signal that it does not handle yet: a pod that is deleted while its program loads would stay, and work, for the
          // whole grace period. Here process 1 is the pod's own.
          shareProcessNamespace: true,
          imagePullSecrets: pullSecrets(worker),
          priorityClassName: optional(values.priorityClassName),
          terminationGracePeriodSeconds: secondsAfter(values.timeout, GRACE_SECONDS + END_SECONDS),
          securityContext: RESTRICTED_POD,
          containers: [
            {
              name: WORKER_CONTAINER,
              image: values.image,
              imagePullPolicy: values.pullPolicy,
              command: values.command,
              args: values.args,
              // The user's come last, so that they may refer to ours.
              env: [...fixedVariables(worker), ...natsClientEnvironment(workers), items(variablesOf(values.env))],
              envFrom: values.envFrom,
              ports: [{ name: HTTP, containerPort: HTTP_PORT }],
              ...probes,
              resources: given(hasResources(worker), { requests: values.resources.requests, limits: values.resources.limits }),
              securityContext: RESTRICTED_CONTAINER,
              volumeMounts: [{ name: "tmp", mountPath: "/tmp" }, ...natsClientMounts(workers), items(values.extraVolumeMounts)],
            },
          ],
          nodeSelector: values.nodeSelector,
          tolerations: [...LEAVES_LOST_NODES, items(values.tolerations)],
          affinity: values.affinity,
          volumes: [{ name: "tmp", emptyDir: {} }, ...natsClientVolumes(workers), items(values.extraVolumes)],
        },
      },
    },
  });
}

/** What the SDK reads. It wins over what the program says itself. */
function fixedVariables(worker: Worker) {
  const { name, values } = worker;
  const settings: Variable[] = [
    { name: "MILLRACE_WORKER", value: name },
    { name: "MILLRACE_INSTANCE", value: release.instance },
    { name: "MILLRACE_CONCURRENCY", value: `${values.concurrency}` },
    { name: "MILLRACE_TIMEOUT", value: values.timeout },
    { name: "MILLRACE_RETRY", value: raw(`${argument(values.retry)} | toJson`) },
    { name: "MILLRACE_GRACE", value: `${secondsAfter(values.timeout, GRACE_SECONDS)}s` },
    { name: "ACK_WAIT", value: v.ackWait },
    { name: "LOG_LEVEL", value: v.logLevel },
    { name: "HTTP_SERVER_PORT", value: String(HTTP_PORT) },
  ];
  return [podName, podNamespace, fromPod("POD_UID", "metadata.uid"), fromPod("NODE_NAME", "spec.nodeName"), ...settings];
}

const hasResources = ({ values: { resources } }: Worker) =>
  condition(`not (and (empty ${argument(resources.requests)}) (empty ${argument(resources.limits)}))`);

const variablesOf = (map: Expression<unknown>): Expression<V1EnvVar[]> =>
  new Expression(`include "millrace.environment" ${argument(map)} | fromJsonArray`, "block");

/** None twice: the API server refuses that. */
function pullSecrets({ values }: Worker): Expression<V1LocalObjectReference[]> {
  const all = `concat (${v.global.imagePullSecrets.code} | default list) ${argument(values.imagePullSecrets)}`;
  return new Expression(`${all} | uniq`, "block");
}
