/** What is installed where. The names are the ones that documents and examples use. */
export interface Profile {
  /** The local cluster, and with it the kube context. */
  readonly cluster: string;
  readonly release: string;
  readonly namespace: string;
  readonly jobsNamespace: string;
  /** Laid over the chart's values. */
  readonly values: Readonly<Record<string, unknown>>;
}

const names = { release: "millrace", namespace: "millrace", jobsNamespace: "millrace-jobs" } as const;

/** `make up`: raw messages are allowed on the queue `default`, so that the examples of raw jobs can be tried. */
export const localProfile: Profile = {
  ...names,
  cluster: "millrace",
  values: {
    jobs: { namespace: names.jobsNamespace },
    queues: { default: { slots: 100, policy: { raw: true } } },
  },
};

/** `make up` on a cluster named by its context: the chart's own defaults, which allow nothing that was not asked for. */
export const contextProfile: Profile = { ...localProfile, values: { jobs: { namespace: names.jobsNamespace } } };

/** `make test`: the same installation on a cluster of its own, with short intervals so that every timer fires during a test. */
export const testProfile: Profile = {
  ...names,
  // Another name lets two checkouts be tested at once.
  cluster: process.env["MILLRACE_E2E_CLUSTER"] ?? "millrace-e2e",
  values: {
    ...localProfile.values,
    ackWait: "15s",
    sweepInterval: "5s",
    unknownQueueAfter: "5s",
  },
};
