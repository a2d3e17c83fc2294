/** What ended an attempt that did not succeed (design §4.5); decides what is done next. */
export const FAILURE_CLASSES = [
  "oom",
  "evicted",
  "preempted",
  "nodeLost",
  "lost",
  "neverStarted",
  "deadline",
  "exit",
  "image",
  "containerConfig",
  "deleted",
  "refused",
  "cancelled",
] as const;
export type FailureClass = (typeof FAILURE_CLASSES)[number];

/**
 * What a class costs.
 *
 * - `budget`: one of the queue's attempts
 * - `free`: nothing, up to the queue's `freeLimit`; it was nobody's fault
 * - `memory`: one attempt, and the next one gets more memory
 * - `dead`: another attempt would end the same way
 */
export const FAILURE_EFFECTS = ["budget", "free", "memory", "dead"] as const;
export type FailureEffect = (typeof FAILURE_EFFECTS)[number];

/** The table of design §4.5; a queue's `retry.classes` is laid over it. */
export const EFFECT_OF_CLASS: Readonly<Record<FailureClass, FailureEffect>> = {
  oom: "memory",
  evicted: "free",
  preempted: "free",
  nodeLost: "free",
  lost: "free",
  neverStarted: "free",
  deadline: "budget",
  exit: "budget",
  image: "dead",
  containerConfig: "dead",
  deleted: "dead",
  refused: "dead",
  cancelled: "dead",
};
