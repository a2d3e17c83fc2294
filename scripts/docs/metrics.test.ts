import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { METERED_SERVICES, Metrics } from "../../libs/runtime/metrics.ts";
import { metricsPage } from "./metrics.ts";

const root = join(import.meta.dirname, "../..");
const text = (path: string): string => readFileSync(join(root, path), "utf8");

it("docs/metrics.md is what the code exports (otherwise: npm run docs)", () => {
  expect(text("docs/metrics.md")).toBe(metricsPage());
});

describe("the metrics", () => {
  const all = new Metrics("all");
  const { declarations } = all;

  it("are named as Prometheus wants: ours after us, with the unit at the end, counters as totals", () => {
    for (const { name, type } of declarations) {
      expect(name).toMatch(/^(?:millrace_[a-z_]+|queue_length|messages_(?:processed|failed)_total)$/);
      expect(name.endsWith("_total"), name).toBe(type === "counter");
      if (type === "histogram") expect(name).toMatch(/_seconds$/);
      expect(name).not.toMatch(/_ms\b|_minutes|_kb|_mb/);
    }
  });

  it("say in a sentence what they tell, and in which unit they say it", () => {
    for (const { name, help } of declarations) {
      expect(help, name).toMatch(/^[A-Z0-9].*\.$/);
      if (name.includes("_seconds")) expect(help, name).toContain("in seconds");
    }
  });

  it("have no label of which the page does not say what it may hold", () => {
    const described = new Set([...metricsPage().matchAll(/^\| `([a-z]+)` \| /gm)].map(([, label]) => label));
    expect(declarations.flatMap(({ labels }) => labels).filter((label) => !described.has(label))).toEqual([]);
  });

  it.each(METERED_SERVICES)("%s exports those that it feeds, and no others", async (service) => {
    const exported = (await new Metrics(service).registry.getMetricsAsJSON()).map(({ name }) => name);
    const own = exported.filter((name) => !/^(?:process|nodejs)_/.test(name));
    expect(own).toEqual(declarations.filter(({ services }) => services.includes(service)).map(({ name }) => name));
    const sources = [`services/${service}`, "libs"].flatMap(sourcesOf).join("\n");
    for (const { name } of declarations.filter(({ services }) => services.includes(service))) {
      expect(sources, `nothing in ${service} feeds ${name}`).toMatch(fed(name));
    }
    const others = declarations.filter(({ services }) => !services.includes(service));
    const ownSources = sourcesOf(`services/${service}`).join("\n");
    for (const { name } of others) expect(ownSources, `${service} feeds ${name}`).not.toMatch(fed(name));
  });

  it("docs/operations.md names no others", () => {
    const names = new Set(declarations.map(({ name }) => name));
    const series = text("docs/operations.md").matchAll(
      /\b(?:millrace_[a-z_]+|queue_length|messages_(?:processed|failed)_total)\b/g,
    );
    const found = [...series]
      .map(([name]) => name.replace(/_(?:bucket|sum|count)$/, ""))
      .filter((name) => name !== "millrace_jobs");
    expect(found.length).toBeGreaterThan(10);
    expect(found.filter((name) => !names.has(name))).toEqual([]);
  });

  /** Where a value is put into the metric of that name. */
  function fed(name: string): RegExp {
    const [property] = Object.entries(all).find(([, metric]) => nameOf(metric) === name) ?? [];
    return new RegExp(`\\b${property}\\.(?:inc|set|observe)\\(`);
  }
});

function nameOf(metric: unknown): unknown {
  return typeof metric === "object" && metric !== null && "name" in metric ? metric.name : undefined;
}

function sourcesOf(room: string): string[] {
  return readdirSync(join(root, room), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts") && !file.includes("testing"))
    .map((file) => text(join(room, file)));
}
