import type { V1ClusterRole, V1ClusterRoleBinding, V1Role, V1RoleBinding, V1ServiceAccount } from "@kubernetes/client-node";
import type { Chart } from "cdk8s";
import { Construct } from "constructs";
import type { Check } from "../helm/chart-files.ts";
import { spread } from "../helm/collections.ts";
import { each, when } from "../helm/documents.ts";
import { anyOf, type Condition, type Expression, filled, orElse } from "../helm/expression.ts";
import { clusterWide, manifest } from "../helm/templated.ts";
import { jobNamespaceList, named, release } from "../release.ts";
import { v } from "../values.ts";
import { configMapName } from "./config.ts";
import { configRules, JOB_RULES, leaseRules, NAMESPACE_RULES, type Rule, type ServiceName } from "./rights.ts";

const RBAC = "rbac.authorization.k8s.io";
const RBAC_V1 = `${RBAC}/v1`;

/** When a service needs a Lease, when it may read the job namespaces themselves, and what else it may do in the release's namespace. */
export type Needs = {
  lease: Condition | "always";
  namespaces: Condition | "never";
  more?: { name: string; wanted: Condition; rules: Rule[] }[];
};

export const accountName = (service: ServiceName): Expression<string> => orElse(v[service].serviceAccount.name, named(service));

/** Falling back on `default` would give every pod of the namespace the service's rights. */
export const accountIsNamed = (service: ServiceName): Check => ({
  unless: anyOf(v[service].serviceAccount.create, filled(v[service].serviceAccount.name)).code,
  message: `${service}.serviceAccount.create is false, so ${service}.serviceAccount.name must name an account that exists.`,
});

/** The service's account and what it may do. Outside the named namespaces that is nothing but to read the job namespaces' own objects. */
export function access(chart: Chart, service: ServiceName, needs: Needs): void {
  const account = new Construct(chart, "account");
  when(account, v[service].serviceAccount.create);
  manifest<V1ServiceAccount>(account, "object", {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: accountName(service), annotations: spread(v[service].serviceAccount.annotations) },
    // The pods ask for the token themselves; nobody else gets one by naming the account.
    automountServiceAccountToken: false,
  });
  const roles = new Construct(chart, "roles");
  when(roles, v.rbac.create);
  grant(new Construct(roles, "config-access"), service, { name: named(`${service}-config`) }, configRules(configMapName));
  const lease = new Construct(roles, "lease-access");
  if (needs.lease !== "always") when(lease, needs.lease);
  grant(lease, service, { name: named(`${service}-lease`) }, leaseRules(service));
  // Releases of different namespaces may share a job namespace, and a fullname is unique in its own namespace only. A namespace has no
  // dots, so no two instances are written alike.
  const jobs = new Construct(roles, "job-access");
  const namespace = each(jobs, "namespace", jobNamespaceList);
  grant(jobs, service, { name: `${release.instance}-${service}-jobs`, namespace: `${namespace}` }, JOB_RULES[service]);
  for (const { name, wanted, rules } of needs.more ?? []) {
    const scope = new Construct(roles, name);
    when(scope, wanted);
    grant(scope, service, { name: named(`${service}-${name}`) }, rules);
  }
  if (needs.namespaces === "never") return;
  const namespaces = new Construct(roles, "namespace-access");
  when(namespaces, needs.namespaces);
  grantEverywhere(namespaces, service, { name: `${release.instance}-${service}-namespaces` }, NAMESPACE_RULES);
}

function grant(scope: Construct, service: ServiceName, metadata: { name: string; namespace?: string }, rules: Rule[]): void {
  manifest<V1Role>(scope, "role", { apiVersion: RBAC_V1, kind: "Role", metadata, rules });
  manifest<V1RoleBinding>(scope, "binding", {
    apiVersion: RBAC_V1,
    kind: "RoleBinding",
    metadata,
    roleRef: { apiGroup: RBAC, kind: "Role", name: metadata.name },
    subjects: [subject(service)],
  });
}

function grantEverywhere(scope: Construct, service: ServiceName, metadata: { name: string }, rules: Rule[]): void {
  const role = manifest<V1ClusterRole>(scope, "role", { apiVersion: RBAC_V1, kind: "ClusterRole", metadata, rules });
  const binding = manifest<V1ClusterRoleBinding>(scope, "binding", {
    apiVersion: RBAC_V1,
    kind: "ClusterRoleBinding",
    metadata,
    roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: metadata.name },
    subjects: [subject(service)],
  });
  for (const object of [role, binding]) clusterWide(object);
}

const subject = (service: ServiceName) => ({
  kind: "ServiceAccount",
  name: accountName(service),
  namespace: release.namespace,
});
