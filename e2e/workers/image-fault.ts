import { expect } from "vitest";
import { FaultReport } from "../harness/fault-report.ts";
import type { Batch, Images } from "./images.ts";
import type { WorkersRelease } from "./workers-release.ts";

interface ImageFault {
  readonly release: WorkersRelease;
  readonly images: Images;
  /** Of its row in the documents. */
  readonly fault: string;
  readonly what: string;
  /** Of its messages. */
  readonly label: string;
  readonly count: number;
}

/**
 * Plays something while images are under way whose downloads are not answered before it is over, and asserts that each is there once. Its row is
 * written before anything throws. From `healing()` on the time is measured until all is settled; from the end of what is played unless it calls that.
 */
export async function playOnImages(
  { release, images, fault, what, label, count }: ImageFault,
  play: (batch: Batch, healing: () => void) => Promise<void>,
): Promise<Batch> {
  const batch = await images.publish(label, count, "held");
  let sinceMs: number | undefined;
  const healing = (): void => {
    sinceMs ??= performance.now();
  };
  const [played] = await Promise.allSettled([play(batch, healing)]);
  healing();
  await release.witness.openGate(batch.gate);
  const { problems, settledAtMs, lost, doubled } = await images.verdict(batch);
  const healMs = settledAtMs === null || sinceMs === undefined ? null : Math.round(settledAtMs - sinceMs);
  FaultReport.row({ fault, what, jobs: count, lost, doubled, healMs });
  if (played.status === "rejected") throw played.reason;
  expect(problems, fault).toEqual([]);
  return batch;
}
