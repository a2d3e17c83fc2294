import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { currentContext, mergeKubeconfig, namesContext, renderKubeconfig, unmergeKubeconfig } from "./kubeconfig.ts";

const others = `apiVersion: v1
kind: Config
preferences: {colors: true}
clusters: [{name: work, cluster: {server: "https://work.example"}}]
users: [{name: work, user: {exec: {command: login, env: null}}}]
contexts: [{name: work, context: {cluster: work, user: work, namespace: team}}]
current-context: work
`;
const access = { server: "https://127.0.0.1:36443", ca: Buffer.from("ca"), cert: Buffer.from("cert"), key: Buffer.from("key") };
const ours = renderKubeconfig({ name: "millrace", ...access });

describe("mergeKubeconfig", () => {
  it("adds cluster, user and context, makes the context current, and keeps others' entries whole", () => {
    const merged = parse(mergeKubeconfig(others, ours));
    const before = parse(others);
    expect(merged["current-context"]).toBe("millrace");
    expect(merged.preferences).toEqual({ colors: true });
    for (const list of ["clusters", "users", "contexts"]) {
      expect(merged[list]).toContainEqual(before[list][0]);
      expect(merged[list].map((entry: { name: string }) => entry.name)).toEqual(["work", "millrace"]);
    }
  });

  it("replaces a former entry of the same name instead of doubling it", () => {
    const moved = renderKubeconfig({ name: "millrace", ...access, server: "https://127.0.0.1:40000" });
    const merged = parse(mergeKubeconfig(mergeKubeconfig(others, ours), moved));
    const servers = merged.clusters.map((entry: { cluster: { server: string } }) => entry.cluster.server);
    expect(servers).toEqual(["https://work.example", "https://127.0.0.1:40000"]);
  });

  it.each(["", "apiVersion: v1\nkind: Config\nclusters: null\ncontexts: null\nusers: null\n"])(
    "starts from nothing: %j",
    (existing) => {
      expect(parse(mergeKubeconfig(existing, ours))).toEqual(parse(ours));
    },
  );
});

describe("unmergeKubeconfig", () => {
  it("takes out what merging put in and gives back the former current context", () => {
    expect(parse(unmergeKubeconfig(mergeKubeconfig(others, ours), "millrace", "work"))).toEqual(parse(others));
  });

  it("leaves no current context when the former one is gone or unknown", () => {
    const merged = mergeKubeconfig(others, ours);
    expect(currentContext(unmergeKubeconfig(merged, "millrace", "vanished"))).toBeUndefined();
    expect(currentContext(unmergeKubeconfig(merged, "millrace", undefined))).toBeUndefined();
  });

  it("does not touch a current context that the user has chosen since", () => {
    const chosen = mergeKubeconfig(others, ours).replace("current-context: millrace", "current-context: work");
    expect(currentContext(unmergeKubeconfig(chosen, "millrace", undefined))).toBe("work");
  });

  it("does not take a cluster whose name only begins alike", () => {
    const both = mergeKubeconfig(ours, renderKubeconfig({ name: "millrace-e2e", ...access }));
    const left = unmergeKubeconfig(both, "millrace", undefined);
    expect(namesContext(left, "millrace")).toBe(false);
    expect(namesContext(left, "millrace-e2e")).toBe(true);
  });
});
