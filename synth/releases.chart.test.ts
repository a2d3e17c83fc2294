import type { V1Deployment, V1Service, V1StatefulSet } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { type Document, documents, ofKind, template } from "./testing/rendered.ts";

describe("two releases", () => {
  it("side by side are as committed: every object, and what it selects", async () => {
    const both = [
      await template("millrace", "-n", "one"),
      await template("green", "-n", "one"),
      await template("millrace", "-n", "two"),
    ];
    const rows = both.flatMap(documents).map((document) => {
      const { kind, metadata, spec } = document as Document & { spec?: { selector?: { matchLabels?: object } } };
      const selected = Object.values(spec?.selector?.matchLabels ?? spec?.selector ?? {}).join(" ");
      const where = metadata.namespace === undefined ? "" : `${metadata.namespace}/`;
      return `${kind} ${where}${metadata.name}${selected === "" ? "" : ` → ${selected}`}\n`;
    });
    await expect(rows.join("")).toMatchFileSnapshot("__golden__/releases.txt");
  });

  it("share neither names nor selectors in one namespace", async () => {
    const [one, two] = [documents(await template("one", "-n", "shared")), documents(await template("two", "-n", "shared"))];
    const names = (all: Document[]) => all.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`);
    expect(new Set([...names(one), ...names(two)]).size).toBe(one.length + two.length);
    const selectors = (all: Document[]) => [
      ...ofKind<V1Service>(all, "Service").map(({ spec }) => spec?.selector),
      ...ofKind<V1Deployment>(all, "Deployment").map(({ spec }) => spec?.selector.matchLabels),
      ...ofKind<V1StatefulSet>(all, "StatefulSet").map(({ spec }) => spec?.selector.matchLabels),
    ];
    for (const selector of selectors(one)) expect(selector).toMatchObject({ "app.kubernetes.io/instance": "one" });
    for (const selector of selectors(two)) expect(selector).toMatchObject({ "app.kubernetes.io/instance": "two" });
  });

  it("of the same name in two namespaces share no Role in a common job namespace, and none of the cluster", async () => {
    const roles = async (namespace: string, release: string) =>
      documents(await template(release, "-n", namespace, "--set", "jobs.namespace=work"))
        .filter(({ kind, metadata }) => kind === "ClusterRole" || (kind === "Role" && metadata.namespace === "work"))
        .map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    const all = [
      ...(await roles("a", "x")),
      ...(await roles("b", "x")),
      ...(await roles("a-b", "c")),
      ...(await roles("a", "b-c")),
    ];
    expect(all).toHaveLength(12);
    expect(new Set(all).size).toBe(12);
  });

  it("may have the longest name that Helm allows", async () => {
    const long = "r".repeat(53);
    for (const { kind, metadata } of documents(await template(long, "-n", "n"))) {
      // A Service's name is a label; a StatefulSet's must leave room for the hash in a label of its pods.
      const limit = { Service: 63, StatefulSet: 52 }[kind] ?? 253;
      expect(metadata.name.length).toBeLessThanOrEqual(limit);
    }
  });

  it("keep every object in their namespaces, but for the right to read these namespaces", async () => {
    const elsewhere: string[] = [];
    for (const { kind, metadata } of documents(await template("x", "-n", "home", "--set", "jobs.namespace=work"))) {
      if (metadata.namespace === undefined) elsewhere.push(`${kind} ${metadata.name}`);
      else expect(["home", "work"], `${kind} ${metadata.name}`).toContain(metadata.namespace);
    }
    expect(elsewhere).toEqual(["ClusterRole home.x-monitor-namespaces", "ClusterRoleBinding home.x-monitor-namespaces"]);
  });
});
