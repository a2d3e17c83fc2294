import { beforeAll, describe, expect, it } from "vitest";
import { type Helm, helm3Command, helmCommand } from "./helm-command.ts";
import { CHART, EVERYTHING, EXTERNAL, rendered, template } from "./testing/rendered.ts";

let helm: Helm;
beforeAll(async () => {
  helm = await helmCommand();
});

describe("the chart", () => {
  it.each([
    ["defaults", []],
    ["every value set", ["-f", EVERYTHING]],
    ["a NATS elsewhere", ["-f", EXTERNAL]],
  ])("passes helm lint --strict (%s)", async (_name, args) => {
    const { code, stdout } = await helm("lint", "--strict", CHART, ...args);
    expect(stdout).toContain("0 chart(s) failed");
    expect(code).toBe(0);
  });

  it("renders as committed: defaults", async () => {
    await expect(await template("millrace", "-n", "millrace")).toMatchFileSnapshot("__golden__/defaults.yaml");
  });

  it("renders as committed: every value set", async () => {
    await expect(await template("blue", "-n", "team-a", "-f", EVERYTHING)).toMatchFileSnapshot("__golden__/everything.yaml");
  });

  it("renders as committed: a NATS elsewhere", async () => {
    await expect(await template("millrace", "-n", "millrace", "-f", EXTERNAL)).toMatchFileSnapshot("__golden__/external.yaml");
  });

  it("renders the same with Helm 3", async ({ skip }) => {
    const helm3 = await helm3Command();
    if (helm3 === undefined) return skip("no helm 3 on this machine");
    for (const args of [[], ["-f", EVERYTHING], ["-f", EXTERNAL]]) {
      const release = ["millrace", "-n", "millrace", ...args] as const;
      expect(await rendered(helm3, ...release)).toBe(await rendered(helm, ...release));
    }
  });

  it.each([
    ["notes.txt", ["--set", "jobs.namespace=millrace-jobs"]],
    ["notes-everything.txt", ["-f", EVERYTHING]],
    ["notes-external.txt", ["-f", EXTERNAL]],
  ])("tells the user how to go on: %s", async (golden, args) => {
    const { stdout } = await helm("install", "millrace", CHART, "-n", "millrace", "--dry-run=client", ...args);
    await expect(stdout.slice(stdout.indexOf("NOTES:"))).toMatchFileSnapshot(`__golden__/${golden}`);
  });
});
