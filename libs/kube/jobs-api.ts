import type { V1Job, V1Pod, V1PodList } from "@kubernetes/client-node";
import { ANNOTATION } from "../contract/names.ts";
import type { KubeClient } from "./client.ts";
import { isKubeApiError, isNotFound } from "./errors.ts";

/** The few calls on Jobs and pods that the engine makes. */
export class JobsApi {
  readonly #client: KubeClient;

  constructor(options: { readonly client: KubeClient }) {
    this.#client = options.client;
  }

  create(namespace: string, job: V1Job): Promise<V1Job> {
    return this.#client.json<V1Job>({ method: "POST", path: jobsPath(namespace), body: job });
  }

  /** A quorum read, not from a watch cache; undefined when the server says 404. */
  async get(namespace: string, name: string): Promise<V1Job | undefined> {
    try {
      return await this.#client.json<V1Job>({ method: "GET", path: `${jobsPath(namespace)}/${name}` });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async pods(namespace: string, labelSelector: string): Promise<V1Pod[]> {
    const list = await this.#client.json<V1PodList>({
      method: "GET",
      path: `/api/v1/namespaces/${namespace}/pods`,
      query: { labelSelector },
    });
    return list.items;
  }

  /**
   * S5: marks the Job as settled and lets it expire. The ttl alone would be no mark: admission policies give one to every new Job.
   * Guarded by uid: a Job made anew under the same name is left alone (invariant I5). False when that Job is gone.
   */
  async setTtl(namespace: string, name: string, uid: string, ttlSeconds: number): Promise<boolean> {
    return this.#unlessGone({
      method: "PATCH",
      path: `${jobsPath(namespace)}/${name}`,
      body: { metadata: { uid, annotations: { [ANNOTATION.settled]: "true" } }, spec: { ttlSecondsAfterFinished: ttlSeconds } },
    });
  }

  /** Background propagation: batch/v1's own default would leave the pods behind. False when that Job is gone. */
  async delete(namespace: string, name: string, uid: string): Promise<boolean> {
    return this.#unlessGone({
      method: "DELETE",
      path: `${jobsPath(namespace)}/${name}`,
      body: { kind: "DeleteOptions", apiVersion: "v1", propagationPolicy: "Background", preconditions: { uid } },
    });
  }

  async #unlessGone(request: {
    readonly method: "PATCH" | "DELETE";
    readonly path: string;
    readonly body: unknown;
  }): Promise<boolean> {
    try {
      await this.#client.json<unknown>(request);
      return true;
    } catch (error) {
      if (isNotFound(error) || isOtherUid(error)) return false;
      throw error;
    }
  }
}

export function jobsPath(namespace: string): string {
  return `/apis/batch/v1/namespaces/${namespace}/jobs`;
}

/**
 * The object of that name is another one. A DELETE's precondition says so with 409 Conflict; a PATCH that names another uid tries to change
 * an immutable field (apimachinery `ValidateObjectMetaUpdate`), which is 422 Invalid.
 */
function isOtherUid(error: unknown): boolean {
  return isKubeApiError(error) && (error.status === 409 || (error.status === 422 && error.message.includes("metadata.uid")));
}
