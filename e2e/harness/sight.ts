import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { jobSelector, LABEL } from "../../libs/contract/names.ts";
import { type JobView, type PodView, podEnded } from "../../libs/contract/observation.ts";
import type { KubeClient } from "../../libs/kube/client.ts";
import { jobsPath } from "../../libs/kube/jobs-api.ts";
import { jobView, podView } from "../../libs/kube/views.ts";
import { type Change, Watch } from "../../libs/kube/watch.ts";
import { silentLog } from "../../libs/runtime/log.ts";
import { Changes } from "./changes.ts";

interface Place {
  readonly kube: KubeClient;
  readonly namespace: string;
  readonly instance: string;
}

const DEFAULT_TIMEOUT_MS = 120_000;

/** Jobs or pods of an installation in one namespace, as they come and go; what went away keeps its last state. */
export class Sight<View extends JobView | PodView> implements AsyncDisposable {
  readonly #seen = new Map<string, View>();
  readonly #gone = new Set<string>();
  readonly #changes = new Changes();
  readonly #watch: Watch<View>;
  readonly #counts: (view: View) => boolean;
  #peak = 0;

  private constructor(place: Place, path: string, project: (object: object) => View, counts: (view: View) => boolean) {
    this.#counts = counts;
    this.#watch = new Watch<View>({
      client: place.kube,
      path,
      selector: { labelSelector: jobSelector(place.instance) },
      project,
      onChange: (change) => this.#note(change),
      log: silentLog,
    });
  }

  static async jobs(place: Place): Promise<Sight<JobView>> {
    const project = (object: object): JobView => jobView(object as V1Job);
    const sight = new Sight<JobView>(place, jobsPath(place.namespace), project, () => true);
    await sight.#watch.start();
    return sight;
  }

  static async pods(place: Place): Promise<Sight<PodView>> {
    const project = (object: object): PodView => podView(object as V1Pod);
    const sight = new Sight<PodView>(place, `/api/v1/namespaces/${place.namespace}/pods`, project, (pod) => !podEnded(pod));
    await sight.#watch.start();
    return sight;
  }

  /** All that were ever seen. */
  get seen(): View[] {
    return [...this.#seen.values()];
  }

  get present(): View[] {
    return this.seen.filter(({ uid }) => !this.#gone.has(uid));
  }

  /** The most of them that were there at once; of pods, the most that had not ended. It is what a quota counts. */
  get peak(): number {
    return this.#peak;
  }

  /** Resolves with the first that matches, present or gone. */
  async find(what: string, matches: (view: View, gone: boolean) => boolean): Promise<View> {
    return this.#changes.until(() => this.seen.find((view) => matches(view, this.#gone.has(view.uid))), {
      what,
      limitMs: DEFAULT_TIMEOUT_MS,
      seen: () => this.seen.slice(-5),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#watch.stop();
  }

  #note(change: Change<View>): void {
    const view = change.kind === "gone" ? change.last : change.view;
    this.#seen.set(view.uid, view);
    if (change.kind === "gone") this.#gone.add(view.uid);
    this.#peak = Math.max(this.#peak, this.present.filter(this.#counts).length);
    this.#changes.announce();
  }
}

/** The Jobs of one id. */
export const jobsOf = (jobs: readonly JobView[], hash: string): JobView[] =>
  jobs.filter(({ labels }) => labels[LABEL.job] === hash);
