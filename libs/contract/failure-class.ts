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
] as const;
export type FailureClass = (typeof FAILURE_CLASSES)[number];
