import { CpuMeter } from "./cpu.ts";

const WINDOW_MS = 250;
const IDLE_SHARE = 0.1;
const AT_MOST_MS = 10_000;

/** Resolves when the processes have next to nothing to do: what one measurement leaves behind must not fall on the next. */
export async function quiet(pids: Readonly<Record<string, number>>): Promise<void> {
  const deadlineMs = performance.now() + AT_MOST_MS;
  while (performance.now() < deadlineMs) {
    const meter = new CpuMeter(pids);
    const startedMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
    const usedMs = Object.values(meter.read()).reduce((sum, ms) => sum + ms, 0);
    if (usedMs / (performance.now() - startedMs) < IDLE_SHARE) return;
  }
}
