import { z } from "zod";
import type { Section } from "./section.ts";
import { kubectlJson, type Target } from "./target.ts";

const condition = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().default(""),
  message: z.string().default(""),
});
const nodeSchema = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({ unschedulable: z.boolean().default(false) }).default({ unschedulable: false }),
  status: z.object({ conditions: z.array(condition).default([]) }).default({ conditions: [] }),
});
type Node = z.infer<typeof nodeSchema>;

export async function nodeLines(target: Pick<Target, "binDir" | "context" | "kubeconfig">): Promise<Section> {
  const { items } = z.object({ items: z.array(nodeSchema) }).parse(await kubectlJson(target, ["get", "nodes"]));
  const sick = items.flatMap((node) => nodeComplaints(node).map((complaint) => `${node.metadata.name} ${complaint}`));
  if (sick.length > 0) return { well: false, lines: sick };
  return {
    well: items.length > 0,
    lines: [`${items.length} ${items.length === 1 ? "node" : "nodes"} Ready; context ${target.context}`],
  };
}

/** Why pods do not come to a node or are sent away from it. */
export function nodeComplaints(input: z.input<typeof nodeSchema>): string[] {
  const node: Node = nodeSchema.parse(input);
  const ready = node.status.conditions.find(({ type }) => type === "Ready");
  const notReady = ready?.status === "True" ? [] : [`is not Ready: ${because(ready)}`];
  const pressures = node.status.conditions.filter(({ type, status }) => type.endsWith("Pressure") && status === "True");
  const cordoned = node.spec.unschedulable ? ["takes no new pods: it is cordoned"] : [];
  return [...notReady, ...pressures.map((pressure) => `has ${pressure.type}: ${because(pressure)}`), ...cordoned];
}

function because(found: z.infer<typeof condition> | undefined): string {
  if (found === undefined) return "it has not said anything yet";
  return [found.reason, found.message].filter((part) => part !== "").join(", ");
}
