/** What is installed where. The names are the ones that documents and examples use. */
export interface Profile {
  /** The local cluster, and with it the kube context. */
  readonly cluster: string;
  readonly release: string;
  readonly namespace: string;
  readonly jobsNamespace: string;
  /** More namespaces of Jobs, which the values name too. */
  readonly extraNamespaces: readonly string[];
  /** Laid over the chart's values. */
  readonly values: Readonly<Record<string, unknown>>;
}

const names = { release: "millrace", namespace: "millrace", jobsNamespace: "millrace-jobs" } as const;

const raw = { policy: { raw: true } } as const;

/** `make up`: raw messages are allowed on the queue `default`, so that the examples of raw jobs can be tried. */
export const localProfile: Profile = {
  ...names,
  cluster: "millrace",
  extraNamespaces: [],
  values: {
    jobs: { namespace: names.jobsNamespace },
    queues: { default: { slots: 100, ...raw } },
  },
};

/** `make up` on a cluster named by its context: the chart's own defaults, which allow nothing that was not asked for. */
export const contextProfile: Profile = { ...localProfile, values: { jobs: { namespace: names.jobsNamespace } } };

/** Two more, so that one of them can be full, forbidden or deleted while the others run. */
const extraNamespaces = ["millrace-jobs-b", "millrace-jobs-c"] as const;

/** Short pauses, so that a job's whole life fits into a test. */
const pauses = { backoff: { initial: "1s", max: "4s" }, freeBackoff: { initial: "1s", max: "4s" } } as const;
const retry = { attempts: 3, ...pauses } as const;

/** Asks for almost nothing, so that many fit on one node. */
const tiny = { resources: { requests: { cpu: "1m", memory: "4Mi" } } } as const;

/** The parameters of a template: one whole number. */
const integer = (name: string) => ({
  type: "object",
  properties: { [name]: { type: "integer", minimum: 0 } },
  required: [name],
  additionalProperties: false,
});

/** `make test`: the same installation on a cluster of its own, with short intervals so that every timer fires during a test. */
export const testProfile: Profile = {
  ...names,
  // Another name lets two checkouts be tested at once.
  cluster: process.env["MILLRACE_E2E_CLUSTER"] ?? "millrace-e2e",
  extraNamespaces,
  values: {
    jobs: { namespace: names.jobsNamespace, extraNamespaces },
    ackWait: "15s",
    sweepInterval: "5s",
    unknownQueueAfter: "5s",
    queues: {
      default: { slots: 100, ...raw, retry },
      /** A container that needs 108Mi is given 32Mi, 48Mi, 72Mi and what it needs; what needs more is dead. */
      four: { ...raw, retry: { ...pauses, attempts: 4, oom: { limit: "108Mi" } } },
      /** For pods that do not start. */
      quick: {
        policy: { raw: true, envRefs: ["configMap/nowhere"] },
        retry,
        startTimeout: "20s",
        pullTimeout: { refused: "5s", failing: "10s" },
        keep: { succeeded: "1m", failed: "1m" },
      },
      /** For what waits: its slots are soon in use. */
      small: { ...raw, retry, slots: 4, retrySlots: 1 },
      /** What ran on a lost node is not begun again before it is certain that it runs no more. */
      safe: { ...raw, retry, nodeLoss: "safe" },
      elsewhere: { policy: { raw: true, namespaces: extraNamespaces }, retry },
      /** For the test that takes it out of the configuration. */
      leaving: { ...raw, retry },
    },
    templates: {
      sleep: { params: integer("seconds"), image: "busybox:latest", command: ["sleep"], args: ["$(params.seconds)"], ...tiny },
      exit: {
        params: integer("code"),
        image: "busybox:latest",
        command: ["/bin/sh", "-c", 'exit "$1"', "exit"],
        args: ["$(params.code)"],
        ...tiny,
      },
    },
  },
};
