import type { V2HorizontalPodAutoscalerBehavior } from "@kubernetes/client-node";
import { Construct } from "constructs";
import { STREAM, workConsumerName } from "../../libs/contract/streams.ts";
import { given } from "../helm/collections.ts";
import { when } from "../helm/documents.ts";
import { argument, Expression, orElse } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { v } from "../values.ts";
import { natsMonitoring } from "./nats.ts";
import { scalerAddress } from "./scaler.ts";
import { isPoll, isPush, secondsOf, type Worker, workerLabels, workerName } from "./worker-values.ts";

/** `keda.sh/v1alpha1`, as far as the chart writes it; checked against the types of KEDA 2.21. */
interface ScaledObject {
  metadata?: { name?: string };
  spec: {
    scaleTargetRef: { name: string };
    minReplicaCount: number;
    maxReplicaCount: number;
    pollingInterval: number;
    cooldownPeriod: number;
    advanced: { horizontalPodAutoscalerConfig: { name: string; behavior: V2HorizontalPodAutoscalerBehavior } };
    triggers: { type: string; metadata: { [key: string]: string } }[];
  };
}

/**
 * KEDA takes the first pod and the last one by itself, and makes a HorizontalPodAutoscaler for those between. There is no `fallback`: when nobody
 * can say how much work there is, the pods stay as many as they are, instead of becoming a number that somebody once guessed.
 */
export function scaledObject(scope: Construct, worker: Worker): void {
  const { values } = worker;
  const keda = new Construct(scope, "keda");
  when(keda, v.keda.enabled);
  manifest<ScaledObject>(keda, "scaled-object", {
    apiVersion: "keda.sh/v1alpha1",
    kind: "ScaledObject",
    metadata: { name: workerName(worker), labels: workerLabels(worker) },
    spec: {
      scaleTargetRef: { name: workerName(worker) },
      minReplicaCount: values.min,
      maxReplicaCount: values.max,
      pollingInterval: v.keda.pollingInterval,
      cooldownPeriod: secondsOf(values.cooldown),
      // The name that KEDA would choose is longer, and may have 63 characters, too.
      advanced: { horizontalPodAutoscalerConfig: { name: workerName(worker), behavior: behavior(worker) } },
      triggers: [
        given(isPush(worker), push(worker)),
        ...[STREAM.work, STREAM.workRetry].map((stream) => given(isPoll(worker), poll(worker, stream))),
      ],
    },
  });
}

/** As many pods as there is work for, at once; fewer only when it stays less, for a pod that has just started would have to start again. */
const behavior = ({ values }: Worker) => ({
  scaleUp: { stabilizationWindowSeconds: 0, policies: [{ type: "Pods", value: values.max, periodSeconds: 15 }] },
  scaleDown: { stabilizationWindowSeconds: 30 },
});

const push = (worker: Worker) => ({
  type: "external-push",
  metadata: {
    scalerAddress,
    worker: `${worker.name}`,
    subject: worker.values.subject,
    lagThreshold: `${lagThreshold(worker)}`,
  },
});

const poll = (worker: Worker, stream: string) => ({
  type: "nats-jetstream",
  metadata: {
    natsServerMonitoringEndpoint: orElse(v.nats.monitoring.endpoint, natsMonitoring),
    account: v.nats.monitoring.account,
    stream,
    consumer: workConsumerName(`${worker.name}`),
    lagThreshold: `${lagThreshold(worker)}`,
    activationLagThreshold: "0",
  },
});

/** By default a pod for as many messages as one works on at once. */
const lagThreshold = ({ values }: Worker): Expression<number> =>
  new Expression(`${argument(values.concurrency)} | coalesce (${values.lagThreshold.code})`, "int");
