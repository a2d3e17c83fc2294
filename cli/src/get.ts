import type { AnswerOf, TimelineEntry } from "../../libs/contract/requests.ts";
import { printable } from "./table.ts";

export type JobReport = AnswerOf<"get">;

export function reportText({ id, queue, record, timeline, explanations }: JobReport): string {
  const lines = [
    `id        ${id}`,
    `queue     ${queue}`,
    `state     ${record === undefined ? "waiting" : record.state}${record?.reason === undefined ? "" : `: ${record.reason}`}`,
    ...(record === undefined ? [] : [`attempt   ${record.attempt}`]),
    ...(record?.job === undefined ? [] : [`job       ${record.job.namespace}/${record.job.name}`]),
    ...(record?.result === undefined ? [] : [`result    ${record.result}`]),
    ...explanations.flatMap(({ why, todo }) => [`why       ${why}`, `to do     ${todo}`]),
    ...(timeline.length === 0 ? [] : ["", ...timeline.map(eventText)]),
  ];
  return lines.map(printable).join("\n");
}

/** The record with what was found out about it; a message that waits for its first Job has no record yet. */
export function reportJson({ ok: _ok, record, ...report }: JobReport): object {
  const { id, hash, queue, timeline, explanations } = report;
  return { ...(record ?? { id, hash, queue, state: "waiting" }), timeline, explanations };
}

export function eventText(event: TimelineEntry): string {
  const { attempt, node, class: failureClass, exitCode, reason, notBefore } = event;
  const details = [
    attempt === 0 ? "" : `attempt ${attempt}`,
    node === undefined ? "" : `on ${node}`,
    failureClass ?? "",
    exitCode === undefined ? "" : `exit ${exitCode}`,
    reason ?? "",
    notBefore === undefined ? "" : `next not before ${notBefore}`,
  ];
  return printable(`${event.at}  ${event.kind.padEnd(10)} ${details.filter((detail) => detail !== "").join(", ")}`);
}
