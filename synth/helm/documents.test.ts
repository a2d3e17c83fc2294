import type { V1ClusterRole, V1ConfigMap, V1Deployment } from "@kubernetes/client-node";
import { App, Chart } from "cdk8s";
import { Construct } from "constructs";
import { describe, expect, it } from "vitest";
import { chartTemplate, each, when } from "./documents.ts";
import { condition, Expression, raw } from "./expression.ts";
import { ExpressionResolver } from "./resolver.ts";
import { clusterWide, manifest } from "./templated.ts";

const newChart = (): Chart =>
  new Chart(new App({ resolvers: [new ExpressionResolver()] }), "part", { namespace: `${raw("$.Release.Namespace")}` });

function configMap(scope: Construct, id: string, name: string | Expression<string> = id): void {
  manifest<V1ConfigMap>(scope, id, { apiVersion: "v1", kind: "ConfigMap", metadata: { name } });
}

const document = (name: string): string => `---
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${name}
  namespace: {{ $.Release.Namespace | quote }}
`;

describe("a template file", () => {
  it("is all documents of its cdk8s chart", () => {
    const chart = newChart();
    configMap(chart, "a");
    configMap(new Construct(chart, "inner"), "b", raw("$.Release.Name"));
    expect(chartTemplate(chart)).toBe(document("a") + document("{{ $.Release.Name | quote }}"));
  });

  it("has whole documents under a condition, together with those of the scopes above", () => {
    const chart = newChart();
    const inner = new Construct(chart, "inner");
    when(inner, condition("$.Values.a"));
    configMap(inner, "a");
    const innermost = new Construct(inner, "innermost");
    when(innermost, condition("not $.Values.b"));
    configMap(innermost, "b");
    expect(chartTemplate(chart)).toBe(
      `{{- if $.Values.a }}\n${document("a")}{{- end }}\n` +
        `{{- if $.Values.a }}\n{{- if not $.Values.b }}\n${document("b")}{{- end }}\n{{- end }}\n`,
    );
  });

  it("repeats whole documents for each element of a list", () => {
    const chart = newChart();
    const inner = new Construct(chart, "inner");
    const element = each(inner, "namespace", new Expression<string[]>("$.Values.namespaces", "block"));
    configMap(inner, "a", element);
    expect(chartTemplate(chart)).toBe(
      `{{- range $namespace := $.Values.namespaces }}\n${document("{{ $namespace | quote }}")}{{- end }}\n`,
    );
    expect(() => each(inner, "$x", new Expression<string[]>("$.Values.namespaces", "block"))).toThrow(
      "name of a template variable",
    );
  });

  it("takes expressions in every place of an object, at its type", () => {
    const chart = newChart();
    const resources = new Expression<{ limits: { [key: string]: string } }>("$.Values.resources", "block");
    manifest<V1Deployment>(chart, "deployment", {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "x" },
      spec: {
        replicas: new Expression<number>("$.Values.replicas", "int"),
        selector: { matchLabels: {} },
        template: { spec: { containers: [{ name: "x", resources }], hostNetwork: condition("$.Values.host") } },
      },
    });
    const template = chartTemplate(chart);
    expect(template).toContain("\n  replicas: {{ $.Values.replicas | int64 }}\n");
    expect(template).toContain(
      "\n          {{- with $.Values.resources }}\n          resources:\n            {{- toYaml . | nindent 12 }}\n",
    );
    expect(template).toContain("\n      hostNetwork: {{ $.Values.host }}\n");
  });

  it("takes an object out of its chart's namespace when it is of a kind that is in none", () => {
    const chart = newChart();
    const body = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name: "x" } };
    clusterWide(manifest<V1ClusterRole>(chart, "role", body));
    expect(chartTemplate(chart)).toContain("\nmetadata:\n  name: x\n");
    expect(chartTemplate(chart)).not.toContain("namespace");
  });

  it("refuses what does not fit", () => {
    const chart = newChart();
    // @ts-expect-error a string where a number belongs
    manifest<V1Deployment>(chart, "a", { apiVersion: "apps/v1", kind: "Deployment", metadata: {}, spec: { replicas: raw("x") } });
    // @ts-expect-error no such field
    manifest<V1ConfigMap>(chart, "b", { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "b" }, dat: {} });
    const labels = new Expression<{ [key: string]: string }>("$.Values.labels", "block");
    expect(() => manifest<V1ConfigMap>(chart, "c", { apiVersion: "v1", kind: "ConfigMap", metadata: { labels } })).toThrow(
      "part/c: labels",
    );
  });
});
