import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { ContainerMemory } from "../harness/container-memory.ts";
import type { WorkerPod } from "../harness/worker-pods.ts";
import { playOnImages } from "./image-fault.ts";
import { type Batch, DOWNLOADER, Images } from "./images.ts";
import type { Part } from "./part.ts";
import type { ScaledObject } from "./scaled-object.ts";
import { COOLDOWN_MS, IMAGES_PER_POD, MOST_IMAGE_PODS, WorkersRelease } from "./workers-release.ts";

/** Twice as many as all downloaders take at once: while those sleep that were held for too long, the others still want every pod. */
const COUNT = process.env["SOAK"] === "1" ? 200 : 2 * MOST_IMAGE_PODS * IMAGES_PER_POD;
/** A pod that has no work for so long is taken: by then KEDA has asked and would have acted. */
const BEYOND_COOLDOWN_MS = 2 * COOLDOWN_MS;

let release: WorkersRelease;
let images: Images;
let downloader: ScaledObject;
beforeAll(async () => {
  release = await WorkersRelease.open();
  images = await Images.open(release);
  downloader = release.scaledObject(DOWNLOADER);
});
afterAll(() => release[Symbol.asyncDispose]());

const inNamespace = (...args: readonly string[]): Promise<string> =>
  release.millrace.kubectl(["-n", release.millrace.names.namespace, ...args]);

/** With downloads under way that will not end before it is over. */
function whileBusy(
  about: { readonly fault: string; readonly what: string; readonly label: string },
  play: (healing: () => void) => Promise<unknown>,
): Promise<Batch> {
  return playOnImages({ release, images, count: COUNT, ...about }, async ({ paths }, healing) => {
    await images.fetched(paths, IMAGES_PER_POD);
    await play(healing);
  });
}

/**
 * A busy pod that is told to go is still there, leaving, or is gone when its downloads have failed meanwhile: whoever is there as before was never
 * told.
 */
async function nobodyIsScaledIn(part: Part, healing: () => void, meanwhile: () => Promise<void>): Promise<void> {
  // Until KEDA knows of them, pods that were idle may go.
  await downloader.toldAgain();
  const before = release.pods.of(DOWNLOADER).filter(({ isLeaving }) => !isLeaving);
  await part.whileAway(meanwhile);
  healing();
  await downloader.toldAgain();
  const after = release.pods.of(DOWNLOADER);
  const stayed = after.filter(({ isLeaving }) => !isLeaving).map(({ uid }) => uid);
  expect(before.length).toBeGreaterThan(0);
  expect(stayed).toEqual(expect.arrayContaining(before.map(({ uid }) => uid)));
  expect(after.filter(({ isLeaving }) => isLeaving)).toEqual([]);
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
  const about = {
    fault: "worker: out of memory",
    what: "the kernel killed a downloader; what it had begun was begun again",
    label: "oom",
  };
  await whileBusy(about, async () => {
    const { uid, containerId } = await busyPod();
    await ContainerMemory.of(release.millrace.cluster, containerId).exhaust();
    await release.pods.waitFor("OOMKilled", DOWNLOADER, (pods) =>
      pods.some((pod) => pod.uid === uid && pod.restarts > 0 && pod.lastEnd === "OOMKilled"),
    );
  });
});

it("a worker's pod is deleted without a word", async () => {
  const about = {
    fault: "worker: pod deleted",
    what: "the pod of a downloader was deleted with no time to end; what it had begun was begun again",
    label: "deleted",
  };
  await whileBusy(about, async () => {
    const { name } = await busyPod();
    await inNamespace("delete", "pod", name, "--force", "--grace-period=0");
  });
});

it("all workers are scaled in while they are busy: what they had begun they end", async () => {
  const about = {
    fault: "workers: scaled in while busy",
    what: "all downloaders were told to go; what they had begun they ended, and nothing was begun twice",
    label: "scaled-in",
  };
  const { paths } = await whileBusy(about, async () => {
    const busy = release.pods.of(DOWNLOADER).map(({ uid }) => uid);
    await inNamespace("scale", "deployment", "-l", `app=${DOWNLOADER}`, "--replicas=0");
    // They have been told before their downloads are answered; whoever comes after them is KEDA's.
    await release.pods.waitFor("all to leave", DOWNLOADER, (pods) =>
      pods.every(({ uid, isLeaving }) => isLeaving || !busy.includes(uid)),
    );
  });
  expect(images.refetched(paths)).toBe(0);
});

it("NATS is away for longer than the cooldown while workers are busy: their scaler holds its value, and they stay", async () => {
  const about = {
    fault: "workers: NATS restarted",
    what: "it was away for longer than their cooldown while they were busy; the scaler held its last value, and nobody was scaled in",
    label: "nats",
  };
  await whileBusy(about, (healing) =>
    nobodyIsScaledIn(release.part("nats"), healing, () => downloader.toldAgain(BEYOND_COOLDOWN_MS)),
  );
});

it.each([
  ["KEDA", "keda", () => Promise.resolve()],
  ["the scaler", "scaler", () => downloader.unanswered()],
] as const)(
  "%s is away while workers are busy, who stay, and when a message comes for one that has no pod",
  async (who, name, noticed) => {
    const about = {
      fault: `workers: ${who === "KEDA" ? who : name} restarted`,
      what: "it was away for longer than their cooldown while they were busy, and nobody was scaled in; a worker without pods got one when it was back",
      label: name,
    };
    const key = `${name}-${randomBytes(3).toString("hex")}`;
    await whileBusy(about, async (healing) => {
      await release.pods.waitForNone("steady");
      await nobodyIsScaledIn(release.part(name), healing, async () => {
        await release.act("steady", key, []);
        const held = () => release.heldBy("steady");
        await vi.waitFor(async () => expect(await held()).toEqual({ waiting: 1, running: 0, asleep: 0 }), { timeout: 30_000 });
        await noticed();
        await downloader.untoldFor(BEYOND_COOLDOWN_MS);
        expect(release.pods.of("steady")).toEqual([]);
      });
      await release.witness.waitFor(`the end of ${key}`, (told) => told.what === "done" && told.key === key);
    });
  },
);

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
