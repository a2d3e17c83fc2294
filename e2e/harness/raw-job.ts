/** What a test tells a script of its: to succeed, or to fail. */
export const SUCCEED = "USR1";
export const FAIL = "USR2";

/** The exit code of a script that was told to end by whoever stops its pod. */
export const STOPPED = 42;

/** Runs until it is told how to end. */
export const LASTING = `trap "exit 0" ${SUCCEED}; trap "exit 1" ${FAIL}; trap "exit ${STOPPED}" TERM; sleep 600 & wait`;

/** Only the first attempt does this; any other succeeds at once. */
export const first = (script: string): string => `[ "$MILLRACE_ATTEMPT" != 1 ] || { ${script}; }`;

/** A raw message that runs a shell script; it asks for almost nothing, so that many fit on one node. */
export function rawJob(id: string, script: string, fields: object = {}): { readonly id: string } {
  const job = {
    prefixName: "e2e",
    namespace: "millrace-jobs",
    image: "busybox:latest",
    command: ["/bin/sh", "-c", script],
    resources: { requests: { cpu: "1m", memory: "4Mi" } },
    ...fields,
  };
  return { id, job } as { readonly id: string };
}
