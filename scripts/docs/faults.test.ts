import { expect, it } from "vitest";
import { tally } from "../../e2e/harness/fault-report.ts";
import { faultsPage } from "./faults.ts";

const row = { jobs: 12, lost: 0, doubled: 0, healMs: 1_540, soak: false, machine: "2 × CPU, 24 GiB" };

it("a fault is a line with its figures, a bar in its words breaks no table", () => {
  const page = faultsPage([{ ...row, fault: "monitor: SIGSTOP", what: "another led | the old one came back" }]);
  expect(page).toContain("| monitor: SIGSTOP | another led \\| the old one came back | 12 | 0 | 0 | 1.5 s |\n");
});

it("each machine and kind of round is named once", () => {
  const page = faultsPage([
    { ...row, fault: "a", what: "" },
    { ...row, fault: "b", what: "" },
    { ...row, fault: "c", what: "", soak: true },
  ]);
  expect(page.match(/2 × CPU, 24 GiB/g)).toHaveLength(2);
});

it("what the oracle found counts once per job: gone or unfinished is lost, a second end or a second Job is doubled", () => {
  const found = [
    { rule: "I3", hash: "gone", detail: "" },
    { rule: "rest", hash: "gone", detail: "" },
    { rule: "I7", hash: "twice", detail: "" },
    ["twins-a1", [{ uid: "one" }, { uid: "two" }]],
  ];
  expect(tally(found)).toEqual({ lost: 1, doubled: 2 });
  expect(tally([])).toEqual({ lost: 0, doubled: 0 });
});
