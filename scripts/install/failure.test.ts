import { expect, it } from "vitest";
import { ClusterError } from "../cluster/cluster-error.ts";
import { failureText } from "./failure.ts";

it("adds the likely fix to a full disk of our own calls, and nothing to an error that says it already", () => {
  expect(failureText(Object.assign(new Error("ENOSPC: write"), { code: "ENOSPC" }))).toMatch(/^ENOSPC: write\n.*df -h/);
  expect(failureText(new ClusterError("BUILD_FAILED", "went wrong"))).toBe("went wrong");
  expect(failureText("plain")).toBe("plain");
});
