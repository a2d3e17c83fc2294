import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ContainerMemory } from "../harness/container-memory.ts";
import type { WorkerPod } from "../harness/worker-pods.ts";
import { DOWNLOADER, Images, RESIZER } from "./images.ts";
import { WorkersRelease } from "./workers-release.ts";

/** More than one downloader takes, which is two. */
const COUNT = process.env["SOAK"] === "1" ? 200 : 10;
const BUSY = 2;

let release: WorkersRelease;
let images: Images;
beforeAll(async () => {
  release = await WorkersRelease.open();
  images = await Images.open(release);
});
afterAll(() => release[Symbol.asyncDispose]());

const kubectl = (...args: readonly string[]): Promise<string> => release.millrace.kubectl(args);
const inNamespace = (...args: readonly string[]): Promise<string> => kubectl("-n", release.millrace.names.namespace, ...args);

/** While downloads are under way that will not end before it is over. */
async function whileBusy(label: string, fault: () => Promise<unknown>): Promise<readonly string[]> {
  const { paths, gate } = await images.publish(label, COUNT, "held");
  try {
    await images.fetched(paths, BUSY);
    await fault();
  } finally {
    await release.witness.openGate(gate);
  }
  await images.allSettled();
  return paths;
}

/** Published while nothing runs, and while something that is to start it is away. */
async function fromNothing(label: string, fault: () => Promise<unknown>): Promise<void> {
  await release.pods.waitForNone(DOWNLOADER, RESIZER);
  await fault();
  await images.publish(label, COUNT);
  await images.allSettled();
}

/** It works before its status says that it is ready. */
async function busyPod(): Promise<WorkerPod> {
  const isThere = ({ containerId, isLeaving }: WorkerPod): boolean => containerId !== "" && !isLeaving;
  await release.pods.waitFor("a pod", DOWNLOADER, (pods) => pods.some(isThere));
  const [pod] = release.pods.of(DOWNLOADER).filter(isThere);
  if (pod === undefined) throw new Error("the only pod is gone");
  return pod;
}

it("a worker runs out of memory", async () => {
  await whileBusy("oom", async () => {
    const { uid, containerId } = await busyPod();
    await ContainerMemory.of(release.millrace.cluster, containerId).exhaust();
    await release.pods.waitFor("OOMKilled", DOWNLOADER, (pods) =>
      pods.some((pod) => pod.uid === uid && pod.restarts > 0 && pod.lastEnd === "OOMKilled"),
    );
  });
});

it("a worker's pod is deleted without a word", async () => {
  await whileBusy("deleted", async () => {
    const { name } = await busyPod();
    await inNamespace("delete", "pod", name, "--force", "--grace-period=0");
  });
});

it("all workers are scaled in while they are busy: what they had begun they end", async () => {
  const paths = await whileBusy("scaled-in", () => inNamespace("scale", "deployment", "-l", `app=${DOWNLOADER}`, "--replicas=0"));
  expect(images.refetched(paths)).toBe(0);
});

it("NATS is restarted", async () => {
  const nats = "workers-millrace-nats";
  await whileBusy("nats", async () => {
    await inNamespace("delete", "pod", `${nats}-0`);
    await inNamespace("rollout", "status", `statefulset/${nats}`, "--timeout=120s");
  });
});

it("KEDA is away when messages come, and comes back", async () => {
  await fromNothing("keda", () =>
    kubectl("-n", "keda", "delete", "pod", "-l", "app=keda-operator", "--force", "--grace-period=0"),
  );
});

it("the scaler is away when messages come, and comes back", async () => {
  await fromNothing("scaler", () =>
    inNamespace("delete", "pod", "-l", "app.kubernetes.io/component=scaler", "--force", "--grace-period=0"),
  );
});

it("scale-in takes the idle pods: whoever is busy stays, and is not begun again", async () => {
  const run = randomBytes(3).toString("hex");
  const keys = [`stays-${run}`, `stays-too-${run}`, `goes-${run}`];
  const [, , goes = ""] = keys;
  for (const key of keys) await release.act("marked", key, [`gate ${key}`]);
  const begun = await release.witness.waitFor("begins", ({ what, key }) => what === "begun" && keys.includes(key), 3);
  const podOf = (key: string): string => begun.find((told) => told.key === key)?.pod ?? "";
  await release.witness.openGate(goes);
  await release.witness.waitFor("its end", ({ what, key }) => what === "done" && key === goes);
  await release.pods.waitFor("marks", "marked", (pods) => pods.every(({ name, cost }) => cost > 0 === (name !== podOf(goes))));
  await inNamespace("scale", "deployment", "-l", "app=marked", "--replicas=2");
  await release.pods.waitFor("a pod to go", "marked", (pods) => pods.some(({ isLeaving }) => isLeaving));
  expect(
    release.pods
      .of("marked")
      .filter(({ isLeaving }) => isLeaving)
      .map(({ name }) => name),
  ).toEqual([podOf(goes)]);
  for (const key of keys) await release.witness.openGate(key);
  await release.witness.waitFor("ends", ({ what, key }) => what === "done" && keys.includes(key), 3);
  expect(keys.map((key) => release.witness.of(key).map(({ what, attempt }) => `${what} ${attempt}`))).toEqual(
    keys.map(() => ["begun 1", "done 1"]),
  );
});
