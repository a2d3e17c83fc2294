import { expect, it, vi } from "vitest";
import { ClusterError } from "../cluster/cluster-error.ts";
import { runSteps } from "./run-steps.ts";

it("shows that a step failed and hands its error over, without telling the message itself", async () => {
  const written: string[] = [];
  const spy = vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    written.push(String(chunk));
    return true;
  });
  const failure = new ClusterError("COMMAND_FAILED", "the last 20 lines");
  const never = vi.fn(() => Promise.resolve());
  const steps = [
    { title: "first", run: () => Promise.resolve() },
    { title: "second", run: () => Promise.reject(failure) },
    { title: "third", run: never },
  ];
  await expect(runSteps(steps)).rejects.toBe(failure);
  spy.mockRestore();
  const text = written.join("");
  expect(text).toMatch(/second.*FAILED/);
  expect(text).not.toContain("the last 20 lines");
  expect(never).not.toHaveBeenCalled();
});
