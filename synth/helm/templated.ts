import { ApiObject, JsonPatch } from "cdk8s";
import type { Construct } from "constructs";
import { Expression } from "./expression.ts";

/**
 * A Kubernetes object in which every value may be an expression that gives a value of its type. A misspelt field, or a number in the place
 * of a string, does not compile.
 */
export type Templated<T> = [T] extends [boolean | undefined]
  ? T | Expression<boolean>
  : T extends string | number | null | undefined
    ? T | Expression<T>
    : T extends readonly (infer Element)[]
      ? Templated<Element>[] | Expression<T>
      : TemplatedFields<T> | Expression<T>;

type TemplatedFields<T> = { [Key in keyof T]: Templated<T[Key]> };

type Metadata = { name?: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
type KubernetesObject = { apiVersion?: string; kind?: string; metadata?: Metadata };

/** Adds a Kubernetes object to the construct tree. The type parameter is the object's model: `manifest<V1Service>(chart, "service", {…})`. */
export function manifest<T extends KubernetesObject>(
  scope: Construct,
  id: string,
  body: TemplatedFields<Omit<T, "apiVersion" | "kind" | "metadata" | "status">> & {
    apiVersion: string;
    kind: string;
    metadata: TemplatedFields<Metadata>;
  },
): ApiObject {
  // cdk8s copies these two maps key by key, which would take an expression apart without a word.
  const { labels, annotations } = body.metadata;
  if (labels instanceof Expression || annotations instanceof Expression) {
    throw new TypeError(
      `${scope.node.path}/${id}: labels and annotations of the metadata cannot be one expression as a whole; use { ...spread(map) }`,
    );
  }
  const { apiVersion, kind, metadata, ...rest } = body;
  return new ApiObject(scope, id, { apiVersion, kind, metadata: metadata as Metadata, ...rest });
}

/** The object is of a kind that is in no namespace; cdk8s gives every object its chart's. */
export function clusterWide(object: ApiObject): void {
  object.addJsonPatch(JsonPatch.remove("/metadata/namespace"));
}
