import { beforeAll, describe, expect, it } from "vitest";
import { type Helm, helm3Command, helmCommand } from "./testing/helm-command.ts";
import { CHART, EVERYTHING, EXTERNAL, rendered, template } from "./testing/rendered.ts";

let helm: Helm;
let helm3: Helm;
beforeAll(async () => {
  helm = await helmCommand();
  helm3 = await helm3Command();
});

/** Helm 4 ends some documents with an empty line where Helm 3 has none. Nothing else may differ. */
const withoutGaps = (yaml: string): string => yaml.replaceAll(/\n+(---\n|$)/gu, "\n$1");

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

  it.each([
    ["defaults", []],
    ["every value set", ["-f", EVERYTHING]],
    ["a NATS elsewhere", ["-f", EXTERNAL]],
  ])("renders the same with Helm 3 (%s)", async (_name, args) => {
    const release = ["millrace", "-n", "millrace", ...args] as const;
    // Without a cluster Helm 3 takes Kubernetes' version from its build, in which ours has none.
    const old = await rendered(helm3, ...release, "--kube-version", "1.36.0");
    expect(withoutGaps(old)).toBe(withoutGaps(await rendered(helm, ...release)));
  });

  it.each([
    ["notes.txt", ["--set", "jobs.namespace=millrace-jobs"]],
    // A dry run has a cluster in mind that has no KEDA.
    ["notes-everything.txt", ["-f", EVERYTHING, "--set", "keda.enabled=false"]],
    ["notes-external.txt", ["-f", EXTERNAL]],
  ])("tells the user how to go on: %s", async (golden, args) => {
    const { stdout } = await helm("install", "millrace", CHART, "-n", "millrace", "--dry-run=client", ...args);
    await expect(stdout.slice(stdout.indexOf("NOTES:"))).toMatchFileSnapshot(`__golden__/${golden}`);
  });
});
