import { openMessage } from "../../libs/contract/message-identity.ts";
import { type Instance, jobHash, messageHash } from "../../libs/contract/names.ts";
import type { LiveConfig } from "../../libs/kube/dispatch-config-source.ts";
import { jobManifest } from "../../libs/kube/job-manifest.ts";
import { Admission } from "../../services/dispatcher/admission.ts";
import { messageBody, QUEUE } from "./rig.ts";

export interface JobBody {
  readonly name: string;
  readonly bytes: Buffer;
}

/** The very bytes that the dispatcher would POST for the same messages, made before the clock runs. */
export function jobBodies(
  options: { readonly instance: Instance; readonly namespace: string; readonly config: LiveConfig },
  ids: readonly string[],
): JobBody[] {
  const { instance, namespace, config } = options;
  const admission = new Admission({ config: () => config, jobsNamespace: namespace, historyMs: 86_400_000, nowMs: Date.now });
  const queue = config.queues[QUEUE];
  if (queue === undefined) throw new Error(`the configuration has no queue ${QUEUE}`);
  return ids.map((id, index) => {
    const data = Buffer.from(messageBody(id));
    const opened = openMessage(data);
    const admitted = opened.kind === "ok" ? admission.admit(opened.value, queue) : opened;
    if (admitted.kind === "rejected") throw new Error(`the bench's own message is refused: ${admitted.rejection.reason}`);
    const manifest = jobManifest(
      {
        instance,
        queue: QUEUE,
        type: "hello",
        id,
        hash: jobHash(instance, QUEUE, id),
        attempt: 1,
        life: 1,
        messageHash: messageHash(data),
        ack: `$JS.ACK.JOBS.q-${QUEUE}.1.${index}.${index}.1763000000000000000.${ids.length - index}`,
        traceparent: undefined,
      },
      admitted.value.job,
      queue,
    );
    return { name: manifest.metadata?.name ?? "", bytes: Buffer.from(JSON.stringify(manifest)) };
  });
}
