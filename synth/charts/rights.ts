import { Expression, raw } from "../helm/expression.ts";
import { jobNamespaceList, named } from "../release.ts";

export type ServiceName = "dispatcher" | "monitor";

/** As `V1PolicyRule`. */
export type Rule = { apiGroups: string[]; resources: string[]; resourceNames?: string[] | Expression<string[]>; verbs: string[] };

const READ = ["get", "list", "watch"];
const LEASES = { apiGroups: ["coordination.k8s.io"], resources: ["leases"] };

/**
 * To Jobs and pods, in each job namespace. The dispatcher looks only at Jobs that it tried to create, so it needs neither list nor watch.
 * The monitor watches Jobs and their pods, stops them (patch), takes the end of their logs, removes what is settled, and what is left of a
 * Job that somebody deleted without its pods.
 */
export const JOB_RULES: Readonly<Record<ServiceName, Rule[]>> = {
  dispatcher: [{ apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get"] }],
  monitor: [
    { apiGroups: ["batch"], resources: ["jobs"], verbs: [...READ, "patch", "delete"] },
    { apiGroups: [""], resources: ["pods"], verbs: [...READ, "delete"] },
    { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
  ],
};

/** To its own configuration, in the release's namespace. */
export const configRules = (configMap: string): Rule[] => [
  { apiGroups: [""], resources: ["configmaps"], resourceNames: [configMap], verbs: READ },
];

/** The Lease by which one of the service's pods leads. */
export const leaseName = (service: ServiceName): string => named(service);

/** To that Lease, in the release's namespace. */
export const leaseRules = (service: ServiceName): Rule[] => [
  // A name cannot be checked at a create: the object has none yet.
  { ...LEASES, verbs: ["create"] },
  { ...LEASES, resourceNames: [leaseName(service)], verbs: ["get", "update"] },
];

/**
 * To the job namespaces themselves, cluster-wide: with a namespace go its Roles, so that no Role can allow to see that it is gone (rule J5).
 */
export const NAMESPACE_RULES: Rule[] = [
  {
    apiGroups: [""],
    resources: ["namespaces"],
    resourceNames: new Expression<string[]>(jobNamespaceList.code, "block"),
    verbs: ["get"],
  },
];

/**
 * To the pods of workers, in the release's namespace: the monitor hands back what a dead one held (rule W1). Pods cannot be named in a Role, for
 * their names are random.
 */
export const WORKER_RULES: Rule[] = [{ apiGroups: [""], resources: ["pods"], verbs: READ }];

/** To mark the busy ones of them, so that idle ones go first. */
export const BUSY_RULES: Rule[] = [{ apiGroups: [""], resources: ["pods"], verbs: ["patch"] }];

/** For people who grant it themselves: `configmaps of millrace-config: get, list, watch`. */
export function ruleText({ apiGroups, resources, resourceNames, verbs }: Rule): string {
  const [group = ""] = apiGroups;
  const kind = `${resources.join(", ")}${group === "" ? "" : `.${group}`}`;
  const named = resourceNames instanceof Expression ? commaList(resourceNames) : (resourceNames?.join(", ") ?? "");
  return `${kind}${named === "" ? "" : ` of ${named}`}: ${verbs.join(", ")}`;
}

export const commaList = (list: Expression<unknown>): string => `${raw(`${list.code} | join ", "`)}`;
