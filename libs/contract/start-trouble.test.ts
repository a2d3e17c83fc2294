import { describe, expect, it } from "vitest";
import type { ContainerView, JobView, PodView } from "./observation.ts";
import { queueConfig } from "./queue-config.ts";
import { startTrouble } from "./start-trouble.ts";
import { jobViewOf, podViewOf } from "./testing/records.ts";

const CREATED = "2026-01-01T00:00:00Z";
const { startTimeout, pullTimeout } = queueConfig.parse({ startTimeout: "10m" });
const MINUTE_MS = 60_000;

const waiting = (reason: string, message = "", rest: Partial<ContainerView> = {}): ContainerView => ({
  name: "main",
  waiting: { reason, message },
  ...rest,
});
const creating = waiting("ContainerCreating");
const running: ContainerView = { name: "main", startedAt: "2026-01-01T00:00:05Z" };
const done = (finishedAt: string, exitCode = 0): ContainerView => ({
  name: "fetch",
  role: "init",
  terminated: { exitCode, reason: "Completed", message: "", finishedAt },
});
const pending = (...containers: ContainerView[]): PodView => podViewOf({ phase: "Pending", createdAt: CREATED, containers });
const unplaced = (rest: Partial<PodView>): PodView => {
  const { node: _node, ...pod } = pending();
  return { ...pod, ...rest };
};

function troubleAt(afterMs: number, pods: readonly PodView[], job: Partial<JobView> = {}) {
  return startTrouble({
    job: jobViewOf({ createdAt: CREATED, ...job }),
    pods,
    queue: { startTimeout, pullTimeout },
    nowMs: Date.parse(CREATED) + afterMs,
  });
}

const BACK_OFF = 'Back-off pulling image "nope:1": ErrImagePull: ';
const PULL =
  'failed to pull and unpack image "docker.io/library/nope:1": failed to resolve reference "docker.io/library/nope:1": ';

describe("design §4.5: what is stopped, and when", () => {
  const REFUSED = 2 * MINUTE_MS;
  const FAILING = 5 * MINUTE_MS;
  const table: readonly (readonly [string, ContainerView, string, number])[] = [
    ["an invalid name", waiting("InvalidImageName", "couldn't parse image name"), "image", 0],
    ["never pulled", waiting("ErrImageNeverPull"), "image", 0],
    [
      "no such tag",
      waiting("ErrImagePull", `rpc error: code = NotFound desc = ${PULL}docker.io/library/nope:1: not found`),
      "image",
      REFUSED,
    ],
    [
      "no such tag, backing off",
      waiting("ImagePullBackOff", `${BACK_OFF}rpc error: code = NotFound desc = ${PULL}nope:1: not found`),
      "image",
      REFUSED,
    ],
    [
      "denied",
      waiting(
        "ErrImagePull",
        `${PULL}pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`,
      ),
      "image",
      REFUSED,
    ],
    [
      "401",
      waiting(
        "ErrImagePull",
        `${PULL}failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token: 401 Unauthorized`,
      ),
      "image",
      REFUSED,
    ],
    [
      "403",
      waiting("ErrImagePull", `${PULL}unexpected status from HEAD request to https://r/v2/nope/manifests/1: 403 Forbidden`),
      "image",
      REFUSED,
    ],
    ["CRI-O: manifest unknown", waiting("ErrImagePull", "reading manifest 1 in r/nope: manifest unknown"), "image", REFUSED],
    ["CRI-O: denied", waiting("ErrImagePull", "denied: requested access to the resource is denied"), "image", REFUSED],
    [
      "the registry does not answer",
      waiting("ErrImagePull", `${PULL}failed to do request: Head "https://r/v2/": dial tcp: lookup r: i/o timeout`),
      "image",
      FAILING,
    ],
    [
      "the registry's name is unknown",
      waiting("ImagePullBackOff", `${BACK_OFF}${PULL}dial tcp: lookup r: no such host`),
      "image",
      FAILING,
    ],
    [
      "too many pulls",
      waiting(
        "ErrImagePull",
        `${PULL}429 Too Many Requests - toomanyrequests: You have reached your unauthenticated pull rate limit`,
      ),
      "image",
      FAILING,
    ],
    [
      "an image whose name has a status in it",
      waiting("ImagePullBackOff", 'Back-off pulling image "r/404-not-found:403"'),
      "image",
      FAILING,
    ],
    ["backing off without a word", waiting("ImagePullBackOff", 'Back-off pulling image "r/app:1"'), "image", FAILING],
    ["a sidecar's image", waiting("ErrImagePull", "x: not found", { name: "proxy", role: "sidecar" }), "image", REFUSED],
    ["no such ConfigMap", waiting("CreateContainerConfigError", 'configmap "settings" not found'), "containerConfig", REFUSED],
    ["no such key", waiting("CreateContainerConfigError", "couldn't find key a in Secret jobs/b"), "containerConfig", REFUSED],
    ["not creatable", waiting("CreateContainerError", "failed to generate spec"), "containerConfig", REFUSED],
    [
      "root where root is refused",
      waiting("CreateContainerConfigError", 'container has runAsNonRoot and image will run as root (pod: "p", container: main)'),
      "containerConfig",
      0,
    ],
    [
      "a user by name where root is refused",
      waiting(
        "CreateContainerConfigError",
        "container has runAsNonRoot and image has non-numeric user (node), cannot verify user is non-root",
      ),
      "containerConfig",
      0,
    ],
    [
      "a kubelet that has not seen the ConfigMap yet",
      waiting("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition"),
      "neverStarted",
      startTimeout,
    ],
    ["a volume that does not come", creating, "neverStarted", startTimeout],
    ["what no version says yet", waiting("Something"), "neverStarted", startTimeout],
  ];

  it.each(table)("%s", (_what, container, stopClass, limitMs) => {
    const pods = [pending(container)];
    expect(troubleAt(limitMs, pods)).toMatchObject({ kind: "stop", class: stopClass });
    if (limitMs > 0) expect(troubleAt(limitMs - 1, pods)).toMatchObject({ kind: "wait", untilMs: Date.parse(CREATED) + limitMs });
  });

  it.each([
    [
      "no node fits",
      { unschedulable: { since: CREATED, message: "0/3 nodes are available" } },
      "no node takes its pod: 0/3 nodes are available",
    ],
    ["no scheduler answers", {}, "its pod was given no node"],
  ])("%s", (_what, rest, reason) => {
    expect(troubleAt(startTimeout - 1, [unplaced(rest)])).toMatchObject({ kind: "wait", why: reason });
    expect(troubleAt(startTimeout, [unplaced(rest)])).toEqual({ kind: "stop", class: "neverStarted", reason });
  });

  it("a short startTimeout comes before a long pullTimeout, and the image is named when both are over", () => {
    const options = {
      job: jobViewOf({ createdAt: CREATED }),
      pods: [pending(waiting("ErrImagePull", "i/o timeout"))],
      queue: { startTimeout: MINUTE_MS, pullTimeout },
    };
    const at = (afterMs: number) => startTrouble({ ...options, nowMs: Date.parse(CREATED) + afterMs });
    expect(at(0)).toMatchObject({ kind: "wait", untilMs: Date.parse(CREATED) + MINUTE_MS });
    expect(at(MINUTE_MS)).toMatchObject({ class: "neverStarted" });
    expect(at(10 * MINUTE_MS)).toMatchObject({ class: "image" });
  });

  it("the reason names the image, says what to do, and leaves out what repeats it", () => {
    const message = `${BACK_OFF}rpc error: code = NotFound desc = ${PULL}docker.io/library/nope:1: not found`;
    expect(troubleAt(startTimeout, [pending(waiting("ImagePullBackOff", message))])).toEqual({
      kind: "stop",
      class: "image",
      reason:
        "image nope:1 of container main cannot be pulled (check its name and the imagePullSecrets): docker.io/library/nope:1: not found",
    });
  });
});

it("the reason of a refused root says what to do, and not which pod", () => {
  const message = 'container has runAsNonRoot and image will run as root (pod: "p_jobs(u)", container: main)';
  expect(troubleAt(0, [pending(waiting("CreateContainerConfigError", message))])).toMatchObject({
    reason:
      "container main cannot be made (give it a runAsUser other than 0, or an image whose user is such a number): container has runAsNonRoot and image will run as root",
  });
});

describe("what is left alone", () => {
  const failing = waiting("ErrImagePull", "x: not found");
  const LONG_MS = 60 * MINUTE_MS;

  it.each<readonly [string, readonly PodView[], Partial<JobView>]>([
    ["a container runs", [pending(running, { ...failing, name: "side" })], {}],
    [
      "a container has run",
      [pending({ name: "main", terminated: { exitCode: 3, reason: "Error", message: "", startedAt: CREATED } })],
      {},
    ],
    ["an init container is at work", [pending(creating, { name: "fetch", role: "init", startedAt: CREATED })], {}],
    ["its pod has ended", [podViewOf({ phase: "Failed", containers: [failing] })], {}],
    ["its pod is being deleted", [podViewOf({ phase: "Pending", deletedAt: CREATED, containers: [failing] })], {}],
    ["a Stop is under way", [pending(failing)], { suspended: true }],
    ["its Job is being deleted", [pending(failing)], { deleting: true }],
    ["its Job is about to fail", [pending(failing)], { failureTarget: { at: CREATED, reason: "DeadlineExceeded" } }],
    ["its Job has failed", [], { failed: { at: CREATED, reason: "DeadlineExceeded", message: "" } }],
    ["its Job is complete", [], { completedAt: CREATED }],
  ])("%s", (_what, pods, job) => {
    expect(troubleAt(LONG_MS, pods, job)).toEqual({ kind: "none" });
  });

  it("a sidecar that runs has started nothing", () => {
    const sidecar: ContainerView = { name: "proxy", role: "sidecar", startedAt: CREATED };
    expect(troubleAt(startTimeout, [pending(creating, sidecar)])).toMatchObject({ kind: "stop", class: "neverStarted" });
    expect(troubleAt(startTimeout, [pending(failing, sidecar)])).toMatchObject({ kind: "stop", class: "image" });
  });

  it("a sidecar that keeps ending is named", () => {
    const sidecar = waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container", { name: "proxy", role: "sidecar" });
    expect(troubleAt(startTimeout, [pending(waiting("PodInitializing"), sidecar)])).toMatchObject({
      class: "neverStarted",
      reason: "its sidecar proxy keeps ending: back-off 5m0s restarting failed container",
    });
  });

  it("the time that init containers worked is not held against the others", () => {
    const hourLater = "2026-01-01T01:00:00Z";
    const pods = [pending(failing, done("2026-01-01T00:20:00Z"), done(hourLater))];
    expect(troubleAt(60 * MINUTE_MS, pods)).toMatchObject({ kind: "wait", untilMs: Date.parse(hourLater) + 2 * MINUTE_MS });
    expect(troubleAt(62 * MINUTE_MS, pods)).toMatchObject({ kind: "stop", class: "image" });
  });

  it("of two that are alive the newest counts, in whatever order they were seen", () => {
    const fresh = { ...pending(creating), uid: "2", createdAt: "2026-01-01T00:10:00Z" };
    for (const pods of [
      [pending(failing), fresh],
      [fresh, pending(failing)],
    ]) {
      expect(troubleAt(11 * MINUTE_MS, pods)).toMatchObject({ kind: "wait" });
    }
  });

  it("the newest pod that is alive counts", () => {
    const old = podViewOf({
      uid: "1",
      phase: "Failed",
      createdAt: CREATED,
      disruption: "EvictionByEvictionAPI",
      containers: [running],
    });
    const fresh = { ...pending(failing), uid: "2", createdAt: "2026-01-01T00:10:00Z" };
    for (const pods of [
      [old, fresh],
      [fresh, old],
    ]) {
      expect(troubleAt(11 * MINUTE_MS, pods)).toMatchObject({ kind: "wait" });
      expect(troubleAt(12 * MINUTE_MS, pods)).toMatchObject({ kind: "stop", class: "image" });
    }
  });
});

describe("a Job without any pod is never stopped", () => {
  const DAY_MS = 24 * 60 * MINUTE_MS;

  it("nothing is concluded in its first ten seconds", () => {
    for (const job of [{}, { podCount: 0 }]) {
      expect(troubleAt(9_999, [], job)).toMatchObject({ kind: "wait", untilMs: Date.parse(CREATED) + 10_000 });
    }
  });

  it.each([10_000, DAY_MS])("refused: its controller has been at work on it and has none, after %i ms", (afterMs) => {
    const why = expect.stringMatching(/^no pod was made in namespace jobs for \d+ s, though .*kubectl -n jobs describe job /);
    expect(troubleAt(afterMs, [], { podCount: 0 })).toMatchObject({ kind: "withoutPod", cause: "refused", why });
  });

  it.each([10_000, DAY_MS])("behind: its controller has not come to it, and no quota is named, after %i ms", (afterMs) => {
    const trouble = troubleAt(afterMs, []);
    expect(trouble).toMatchObject({
      kind: "withoutPod",
      cause: "behind",
      why: expect.stringContaining("has not come to its Job"),
    });
    expect(JSON.stringify(trouble)).not.toMatch(/quota|admission/);
  });

  it("what its controller has made and the watch has not shown yet is waited for", () => {
    expect(troubleAt(10_000, [], { podCount: 1 })).toMatchObject({ kind: "wait", why: "its pod has not been seen yet" });
  });

  it.each([
    [10_000, 30_000],
    [40_000, 40_000],
    [80_000, 80_000],
    [DAY_MS, 300_000],
  ])("it is looked at again less and less often: after %i ms in %i ms", (afterMs, againInMs) => {
    for (const podCount of [0, 1]) {
      expect(troubleAt(afterMs, [], { podCount })).toMatchObject({ untilMs: Date.parse(CREATED) + afterMs + againInMs });
    }
    expect(troubleAt(afterMs, [])).toMatchObject({ untilMs: Date.parse(CREATED) + afterMs + againInMs });
  });
});
