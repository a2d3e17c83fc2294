import { expect, it } from "vitest";
import { faultRow, tally } from "../../e2e/harness/fault-report.ts";
import { timeToHealMs } from "../../e2e/harness/time-to-heal.ts";
import { faultsPage } from "./faults.ts";

const row = { jobs: 12, lost: 0, doubled: 0, healMs: 1_540, soak: false, machine: "2 × CPU, 24 GiB" };

it("a fault is a line with its figures, a bar in its words breaks no table", () => {
  const page = faultsPage([{ ...row, fault: "monitor: SIGSTOP", what: "another led | the old one came back" }]);
  expect(page).toContain("| monitor: SIGSTOP | another led \\| the old one came back | 12 | 0 | 0 | 1.5 s |\n");
});

it("what never healed does not pass for what healed at once, nor for what had nothing to heal", () => {
  const line = (fault: string, healMs: number | null | undefined): string => {
    const page = faultsPage([faultRow.parse(JSON.parse(JSON.stringify({ ...row, fault, what: "", healMs })))]);
    return page.split("\n").find((each) => each.startsWith(`| ${fault} |`)) ?? "";
  };
  expect(line("never", null)).toMatch(/ did not heal \|$/);
  expect(line("at once", 0)).toMatch(/ 0\.0 s \|$/);
  expect(line("nothing", undefined)).toMatch(/ – \|$/);
});

it("a time to heal that is no number is refused", () => {
  expect(faultRow.safeParse({ ...row, fault: "a", what: "", healMs: Number.NaN }).success).toBe(false);
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

const word = (hash: string, kind: string, storedAtMs: number) => ({ hash, kind, storedAtMs });

it("it is healed when the last of the jobs that had not ended goes on, whatever others had done before", () => {
  const words = [
    word("ended", "succeeded", 900),
    word("ran", "created", 800),
    word("waited", "retrying", 950),
    word("untouched", "created", 1_010),
    word("ran", "started", 1_020),
    word("ran", "succeeded", 4_000),
    word("waited", "created", 2_500),
    word("waited", "dead", 9_000),
  ];
  expect(timeToHealMs(words, ["ended", "ran", "waited", "untouched"], 1_000)).toBe(3_000);
  expect(timeToHealMs(words, ["ended"], 1_000)).toBe(0);
});

it("it is not healed when one of the jobs did not go on", () => {
  const words = [word("ran", "created", 800), word("other", "succeeded", 1_500)];
  expect(timeToHealMs(words, ["ran", "other"], 1_000)).toBeNull();
  expect(timeToHealMs(words, ["other", "unheard-of"], 1_000)).toBeNull();
});
