import type { V1PodTemplateSpec } from "@kubernetes/client-node";
import { type Document, ofKind } from "./rendered.ts";

/** A field of the rendered chart that values feed: where it is, what is there, and what the values want there. */
export type FedField = { where: string; is: unknown; wanted: unknown };

// biome-ignore lint/suspicious/noExplicitAny: the shape is what the values schema says, which has just been checked
export type Loose = any;

/** Not `map[key]`: a user's key may be called `toString`. */
export const at = <T>(map: { [key: string]: T }, key: string): T | undefined => (Object.hasOwn(map, key) ? map[key] : undefined);

export const unlessEmpty = (value: Loose): unknown => (Object.keys(value).length === 0 ? undefined : value);

/** The user's own map before the common one, in which what is empty gives way. */
export const together = (own: Loose, common: Loose): Loose =>
  Object.fromEntries(
    [...new Set([...Object.keys(own), ...Object.keys(common)])].map((key) => [
      key,
      at(own, key) || (at(common, key) ?? at(own, key)),
    ]),
  );

export const OURS = /^(?:app\.kubernetes\.io\/(?:name|instance|component|part-of|managed-by|version)|helm\.sh\/chart)$/u;
export const OURS_ON_WORKERS = /^(?:app|millrace\.dev\/(?:instance|worker)|app\.kubernetes\.io\/.+|helm\.sh\/chart)$/u;
const OUR_ANNOTATIONS = /^(?:checksum\/config|helm\.sh\/hook(?:-delete-policy)?)$/u;

export const usersOnly = (map: Loose, ours: RegExp): Loose =>
  Object.fromEntries(Object.entries(map ?? {}).filter(([key]) => !ours.test(key)));

export const unexpanded = (text: string): string => text.replaceAll("$", "$$$$");

export function of<T>(all: Document[], kind: string, component: string): (T & Document) | undefined {
  return ofKind<T>(all, kind).find(({ metadata }) => metadata.labels?.["app.kubernetes.io/component"] === component);
}

export const hasScaler = (values: Loose): boolean => values.keda.enabled && hasWorkers(values);

export const hasWorkers = ({ workers }: Loose): boolean => Object.keys(workers).length > 0;

const once = (list: Loose[]): Loose[] =>
  list.filter((one, at) => list.findIndex((other) => JSON.stringify(other) === JSON.stringify(one)) === at);

const pullSecrets = (common: Loose[], more: Loose[] | undefined): Loose[] =>
  more === undefined ? common : once([...common, ...more]);

export function podFields(
  where: string,
  template: V1PodTemplateSpec | undefined,
  values: Loose,
  own: Loose,
  ours = OURS,
): FedField[] {
  const spec = template?.spec;
  const labels = usersOnly(together(own.podLabels, values.commonLabels), ours);
  const annotations = usersOnly(together(own.podAnnotations, values.commonAnnotations), OUR_ANNOTATIONS);
  const fields: [string, unknown, unknown][] = [
    ["labels", usersOnly(template?.metadata?.labels, ours), labels],
    ["annotations", usersOnly(template?.metadata?.annotations, OUR_ANNOTATIONS), annotations],
    ["resources", spec?.containers[0]?.resources, unlessEmpty(own.resources)],
    ["nodeSelector", spec?.nodeSelector, unlessEmpty(own.nodeSelector)],
    ["tolerations", spec?.tolerations, unlessEmpty(own.tolerations)],
    ["affinity", spec?.affinity, unlessEmpty(own.affinity)],
    ["priorityClassName", spec?.priorityClassName, own.priorityClassName || undefined],
    ["imagePullSecrets", spec?.imagePullSecrets, unlessEmpty(pullSecrets(values.global.imagePullSecrets, own.imagePullSecrets))],
  ];
  return fields.map(([field, is, wanted]) => ({ where: `${where}: ${field}`, is, wanted }));
}
