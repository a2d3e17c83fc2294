import type { V1ClusterRole, V1ClusterRoleBinding, V1Role, V1RoleBinding } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { byName, documents, environment, ofKind, only, template } from "./testing/rendered.ts";

describe("access", () => {
  const CONFIG_RULES = [
    { apiGroups: [""], resources: ["configmaps"], resourceNames: ["x-millrace-config"], verbs: ["get", "list", "watch"] },
  ];
  const JOB_RULES = {
    dispatcher: [{ apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get"] }],
    monitor: [
      { apiGroups: ["batch"], resources: ["jobs"], verbs: ["get", "list", "watch", "patch", "delete"] },
      { apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch", "delete"] },
      { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
    ],
  };

  const LEASE_RULES = (service: string) => [
    { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
    {
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      resourceNames: [`x-millrace-${service}`],
      verbs: ["get", "update"],
    },
  ];

  it("is exactly what the services need", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "jobs.namespace=work,jobs.extraNamespaces={more,work}"));
    expect(new Set(all.map(({ kind }) => kind))).toEqual(
      new Set([
        "ServiceAccount",
        "ConfigMap",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "Service",
        "Deployment",
        "StatefulSet",
        "PodDisruptionBudget",
        "Pod",
      ]),
    );
    const roles = ofKind<V1Role>(all, "Role").map(({ metadata, rules }) => ({
      where: `${metadata.namespace}/${metadata.name}`,
      rules,
    }));
    expect(roles).toHaveLength(7);
    expect(roles).toContainEqual({ where: "home/x-millrace-monitor-lease", rules: LEASE_RULES("monitor") });
    for (const service of ["dispatcher", "monitor"] as const) {
      expect(roles).toContainEqual({ where: `home/x-millrace-${service}-config`, rules: CONFIG_RULES });
      for (const namespace of ["work", "more"]) {
        expect(roles).toContainEqual({ where: `${namespace}/home.x-${service}-jobs`, rules: JOB_RULES[service] });
      }
    }
  });

  it("J5: is cluster-wide only for the monitor, and only to read the job namespaces by their names", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "jobs.namespace=work,jobs.extraNamespaces={more,work}"));
    const { metadata, rules } = only(ofKind<V1ClusterRole>(all, "ClusterRole"));
    expect(metadata).toMatchObject({ name: "home.x-monitor-namespaces" });
    expect(metadata).not.toHaveProperty("namespace");
    expect(rules).toEqual([{ apiGroups: [""], resources: ["namespaces"], resourceNames: ["work", "more"], verbs: ["get"] }]);
    const binding = only(ofKind<V1ClusterRoleBinding>(all, "ClusterRoleBinding"));
    expect(binding.metadata).not.toHaveProperty("namespace");
    expect(binding).toMatchObject({
      metadata: { name: metadata.name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: metadata.name },
      subjects: [{ kind: "ServiceAccount", name: "x-millrace-monitor", namespace: "home" }],
    });
  });

  it.each(["rbac.namespaceReader=false", "rbac.create=false"])("is nowhere cluster-wide with %s", async (setting) => {
    const kinds = documents(await template("x", "--set", setting)).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind.startsWith("Cluster"))).toEqual([]);
  });

  it("dispatchers get a Lease of their own when one of them leads, and all pods know its name", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "dispatcher.leaderElection=true"));
    expect(byName<V1Role>(all, "Role", "x-millrace-dispatcher-lease").rules).toEqual(LEASE_RULES("dispatcher"));
    expect(environment(all, "x-millrace-dispatcher")).toMatchObject({
      LEADER_ELECTION: "true",
      LEASE_NAME: "x-millrace-dispatcher",
    });
    expect(environment(all, "x-millrace-monitor")).toMatchObject({ LEASE_NAME: "x-millrace-monitor" });
    const plain = documents(await template("x", "-n", "home"));
    expect(environment(plain, "x-millrace-dispatcher")).toMatchObject({ LEADER_ELECTION: "false" });
  });

  it("is bound to the service's own account", async () => {
    const all = documents(await template("x", "-n", "home", "--set", "jobs.namespace=work"));
    const bindings = ofKind<V1RoleBinding>(all, "RoleBinding");
    expect(bindings).toHaveLength(5);
    for (const { metadata, roleRef, subjects } of bindings) {
      const service = metadata.name.includes("dispatcher") ? "dispatcher" : "monitor";
      expect(roleRef.name).toBe(metadata.name);
      expect(subjects).toEqual([{ kind: "ServiceAccount", name: `x-millrace-${service}`, namespace: "home" }]);
    }
  });
});
