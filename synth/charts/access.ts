import type { V1PolicyRule, V1Role, V1RoleBinding, V1ServiceAccount } from "@kubernetes/client-node";
import type { Chart } from "cdk8s";
import { Construct } from "constructs";
import type { Check } from "../helm/chart-files.ts";
import { spread } from "../helm/collections.ts";
import { each, when } from "../helm/documents.ts";
import { anyOf, type Condition, type Expression, filled, orElse, raw } from "../helm/expression.ts";
import { manifest } from "../helm/templated.ts";
import { jobNamespaces, named, release } from "../release.ts";
import { v } from "../values.ts";
import { configMapName } from "./config.ts";

/** What a service may do: to Jobs, in each job namespace; to its own configuration, and to its Lease when it needs one, in the release's. */
export type Rights = { jobs: V1PolicyRule[]; lease: Condition | "always" };

const READ = ["get", "list", "watch"];

export type ServiceName = "dispatcher" | "monitor";

/** The Lease by which one of the service's pods leads. */
export const leaseName = (service: ServiceName): string => named(service);

export const accountName = (service: ServiceName): Expression<string> => orElse(v[service].serviceAccount.name, named(service));

/** Falling back on `default` would give every pod of the namespace the service's rights. */
export const accountIsNamed = (service: ServiceName): Check => ({
  unless: anyOf(v[service].serviceAccount.create, filled(v[service].serviceAccount.name)).code,
  message: `${service}.serviceAccount.create is false, so ${service}.serviceAccount.name must name an account that exists.`,
});

/** The service's account and its Roles. There is no ClusterRole: outside the named namespaces a service can do nothing. */
export function access(chart: Chart, service: ServiceName, rights: Rights): void {
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
  grant(new Construct(roles, "config-access"), service, named(`${service}-config`), undefined, [
    { apiGroups: [""], resources: ["configmaps"], resourceNames: [configMapName], verbs: READ },
  ]);
  const lease = new Construct(roles, "lease-access");
  if (rights.lease !== "always") when(lease, rights.lease);
  grant(lease, service, named(`${service}-lease`), undefined, [
    // A name cannot be checked at a create: the object has none yet.
    { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
    { apiGroups: ["coordination.k8s.io"], resources: ["leases"], resourceNames: [leaseName(service)], verbs: ["get", "update"] },
  ]);
  const jobs = new Construct(roles, "job-access");
  const namespace = each(jobs, "namespace", raw(`splitList "," (${jobNamespaces.code})`));
  // Releases of different namespaces may share a job namespace, and a fullname is unique in its own namespace only. A namespace has no
  // dots, so no two instances are written alike.
  grant(jobs, service, `${release.instance}-${service}-jobs`, `${namespace}`, [
    ...rights.jobs,
    // The one cluster-wide kind that a Role can allow: a namespace counts as being in itself. By its uid it is told from its successor.
    { apiGroups: [""], resources: ["namespaces"], resourceNames: [`${namespace}`], verbs: ["get"] },
  ]);
}

function grant(scope: Construct, service: ServiceName, name: string, namespace: string | undefined, rules: V1PolicyRule[]): void {
  const metadata = namespace === undefined ? { name } : { name, namespace };
  manifest<V1Role>(scope, "role", { apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", metadata, rules });
  manifest<V1RoleBinding>(scope, "binding", {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata,
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
    subjects: [{ kind: "ServiceAccount", name: accountName(service), namespace: release.namespace }],
  });
}
