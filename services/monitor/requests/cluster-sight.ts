import type { JobView, PodView } from "../../../libs/contract/observation.ts";
import { MAIN_CONTAINER } from "../../../libs/contract/observation.ts";
import type { JobReference } from "../../../libs/contract/record.ts";
import { redact, secretsOf } from "../../../libs/contract/redaction.ts";
import type { LogLine } from "../../../libs/contract/requests.ts";
import type { JobsApi } from "../../../libs/kube/jobs-api.ts";
import { jobView, podView } from "../../../libs/kube/views.ts";

/** A fresh look at an attempt in the cluster, not from a watch: the monitor that answers may not be the one that watches. */
export class ClusterSight {
  readonly #jobs: JobsApi;

  constructor(options: { readonly jobs: JobsApi }) {
    this.#jobs = options.jobs;
  }

  async job(reference: JobReference): Promise<JobView | undefined> {
    const job = await this.#jobs.get(reference.namespace, reference.name);
    return job?.metadata?.uid === reference.uid ? jobView(job) : undefined;
  }

  async pods(reference: Pick<JobReference, "namespace" | "uid">): Promise<readonly PodView[]> {
    return (await this.#pods(reference)).map(podView);
  }

  /**
   * The main container's log, secrets redacted as in the kept tail. `after`: only lines later than this one's time. Undefined when there is
   * none: no pod, or its container has not started.
   */
  async log(
    reference: Pick<JobReference, "namespace" | "uid">,
    after: string | undefined,
  ): Promise<readonly LogLine[] | undefined> {
    const pods = await this.#pods(reference);
    // Usually one; the latest tells how it is now.
    const pod = pods.sort((a, b) => podView(b).createdAt.localeCompare(podView(a).createdAt))[0];
    const containers = pod?.spec?.containers ?? [];
    const container = containers.find(({ name }) => name === MAIN_CONTAINER) ?? containers[0];
    if (pod?.metadata?.name === undefined || container === undefined) return undefined;
    const lines = await this.#jobs.podLogLines(reference.namespace, pod.metadata.name, container.name, {
      timestamps: true,
      ...(after === undefined ? {} : { sinceTime: after }),
    });
    const secrets = secretsOf([...containers, ...(pod.spec?.initContainers ?? [])]);
    return lines?.map((line) => ({ ...line, text: redact(line.text, secrets) }));
  }

  async #pods({ namespace, uid }: Pick<JobReference, "namespace" | "uid">) {
    return this.#jobs.pods(namespace, `batch.kubernetes.io/controller-uid=${uid}`);
  }
}
