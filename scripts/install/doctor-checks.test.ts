import { expect, it } from "vitest";
import { FREE_FOR_BUILD } from "../cluster/disk-space.ts";
import { judgeControllers, judgeGo, spaceFinding } from "./doctor-checks.ts";
import { doctorLine, somethingNeededIsMissing } from "./finding.ts";

it.each([
  ["go1.26.8", "ok"],
  ["go1.30", "ok"],
  ["go1.25.9", "missing"],
  ["", "missing"],
  ["devel", "missing"],
])("judges Go %j: %s", (version, state) => {
  const finding = judgeGo(version);
  expect(finding.state).toBe(state);
  expect(finding.fix === undefined).toBe(state === "ok");
});

it("names the controllers that are lacking", () => {
  expect(judgeControllers("v2", ["cpu", "cpuset", "io", "memory", "pids"])).toMatchObject({ state: "ok", detail: "v2" });
  expect(judgeControllers("v2", ["cpu", "pids"])).toMatchObject({ state: "missing", detail: "v2 without cpuset, memory" });
});

it("measures disks by the limits that the work itself is refused by", () => {
  expect(spaceFinding("cache", "/c", FREE_FOR_BUILD, () => FREE_FOR_BUILD.bytes).state).toBe("ok");
  expect(spaceFinding("cache", "/c", FREE_FOR_BUILD, () => FREE_FOR_BUILD.bytes - 1)).toMatchObject({
    state: "missing",
    fix: expect.stringContaining("df -h /c"),
  });
});

it("prints the fix below what it fixes, and fails for what is needed only", () => {
  const missing = { what: "runc", state: "missing", detail: "is not there", fix: "apt-get install runc" } as const;
  expect(doctorLine(missing)).toMatch(/^missing +runc +is not there\n +fix: apt-get install runc$/);
  expect(somethingNeededIsMissing([missing])).toBe(true);
  expect(
    somethingNeededIsMissing([
      { ...missing, state: "note" },
      { ...missing, state: "ok" },
    ]),
  ).toBe(false);
});
