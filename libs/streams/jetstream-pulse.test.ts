import { expect, it, vi } from "vitest";
import { JetStreamPulse } from "./jetstream-pulse.ts";

/** Asked twice a millisecond. */
const ACK_WAIT_MS = 3;

it("says for how long JetStream has answered: not while it is silent, and anew from its first answer on", async () => {
  let isSilent = false;
  let answers = 0;
  const last = (): Promise<undefined> => {
    if (isSilent) return Promise.reject(new Error("no responders"));
    answers += 1;
    return Promise.resolve(undefined);
  };
  const pulse = new JetStreamPulse({ broker: { last }, ackWaitMs: ACK_WAIT_MS });
  const openedAtMs = performance.now();
  await pulse.start();
  await vi.waitFor(() => expect(answers).toBeGreaterThan(2));
  const openMs = performance.now() - openedAtMs;
  expect(pulse.answersForMs()).toBeGreaterThanOrEqual(openMs);
  isSilent = true;
  await vi.waitFor(() => expect(pulse.answersForMs()).toBe(0));
  isSilent = false;
  const endedAtMs = performance.now();
  await vi.waitFor(() => expect(pulse.answersForMs()).toBeGreaterThan(0));
  expect(pulse.answersForMs()).toBeLessThanOrEqual(performance.now() - endedAtMs);
  await pulse.stop();
});

it("is told of silence by others, too, and hears itself when that is over", async () => {
  const pulse = new JetStreamPulse({ broker: { last: () => Promise.resolve(undefined) }, ackWaitMs: ACK_WAIT_MS });
  pulse.silent();
  expect(pulse.answersForMs()).toBe(0);
  await pulse.start();
  await vi.waitFor(() => expect(pulse.answersForMs()).toBeGreaterThan(0));
  await pulse.stop();
});
