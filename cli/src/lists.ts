import { ageText } from "../../libs/contract/age.ts";
import { pauseText } from "../../libs/contract/explain.ts";
import type { JobRow, QueueRow } from "../../libs/contract/requests.ts";
import { tableText } from "./table.ts";

/** A reason beyond this is for `millrace get`. */
const REASON_WIDTH = 60;

export function jobsText(jobs: readonly JobRow[], nowMs: number): string {
  return tableText<JobRow>(
    [
      { title: "ID", cell: ({ id }) => id },
      { title: "QUEUE", cell: ({ queue }) => queue },
      { title: "STATE", cell: ({ state }) => state },
      { title: "ATTEMPT", cell: ({ attempt }) => String(attempt) },
      { title: "CLASS", cell: (job) => job.class ?? "" },
      { title: "AGE", cell: ({ createdAt }) => ageText(nowMs - Date.parse(createdAt)) },
      {
        title: "REASON",
        cell: ({ reason = "" }) => (reason.length > REASON_WIDTH ? `${reason.slice(0, REASON_WIDTH - 1)}…` : reason),
      },
    ],
    jobs,
  );
}

export function queuesText(queues: readonly QueueRow[]): string {
  return tableText<QueueRow>(
    [
      { title: "QUEUE", cell: ({ queue, configured }) => (configured ? queue : `${queue} (not configured)`) },
      { title: "WAITING", cell: ({ waiting }) => String(waiting) },
      { title: "RUNNING/SLOTS", cell: ({ running, slots, retrySlots }) => `${running}/${slots + retrySlots}` },
      { title: "SLEEPING", cell: ({ sleeping }) => (sleeping === undefined ? "?" : String(sleeping)) },
      { title: "DEAD", cell: ({ dead }) => String(dead) },
      { title: "PAUSED", cell: ({ paused }) => (paused === undefined ? "" : pauseText(paused)) },
    ],
    queues,
  );
}
