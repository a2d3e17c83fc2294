import type { V1PolicyRule, V1Role, V1RoleBinding, V1ServiceAccount } from "@kubernetes/client-node";
import type { Chart } from "cdk8s";
import { Construct } from "constructs";
import { each } from "../helm/documents.ts";
import { raw } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { type Component, jobNamespaces, named, release } from "../release.ts";
import { configMapName } from "./config.ts";

/** What a service may do: to Jobs, in each job namespace; to its own configuration, in the release's. */
export type Rights = { jobs: V1PolicyRule[] };

const READ = ["get", "list", "watch"];

/** The service's account and its Roles. There is no ClusterRole: outside the named namespaces a service can do nothing. */
export function access(chart: Chart, component: Component, rights: Rights): void {
  manifest<V1ServiceAccount>(chart, "account", {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: named(component) },
    // The pods ask for the token themselves; nobody else gets one by naming the account.
    automountServiceAccountToken: false,
  });
  grant(new Construct(chart, "config-access"), component, named(`${component}-config`), undefined, [
    { apiGroups: [""], resources: ["configmaps"], resourceNames: [configMapName], verbs: READ },
  ]);
  const jobs = new Construct(chart, "job-access");
  const namespace = each(jobs, "namespace", raw(`splitList "," (${jobNamespaces.code})`));
  // Releases of different namespaces may share a job namespace, and a fullname is unique in its own namespace only. A namespace has no
  // dots, so no two instances are written alike.
  grant(jobs, component, `${release.instance}-${component}-jobs`, `${namespace}`, rights.jobs);
}

function grant(scope: Construct, component: Component, name: string, namespace: string | undefined, rules: V1PolicyRule[]): void {
  const metadata = namespace === undefined ? { name } : { name, namespace };
  manifest<V1Role>(scope, "role", { apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", metadata, rules });
  manifest<V1RoleBinding>(scope, "binding", {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata,
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
    subjects: [{ kind: "ServiceAccount", name: named(component), namespace: release.namespace }],
  });
}
