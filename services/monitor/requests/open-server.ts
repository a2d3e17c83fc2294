import type { NatsConnection } from "@nats-io/transport-node";
import type { Instance } from "../../../libs/contract/names.ts";
import type { JobView } from "../../../libs/contract/observation.ts";
import type { JobsApi } from "../../../libs/kube/jobs-api.ts";
import type { Log } from "../../../libs/runtime/log.ts";
import type { JobStore } from "../../../libs/streams/job-store.ts";
import type { LogTails } from "../../../libs/streams/log-tails.ts";
import { QueueConsumers } from "../../../libs/streams/queue-consumers.ts";
import { RecordIndex } from "../../../libs/streams/record-index.ts";
import { ClusterSight } from "./cluster-sight.ts";
import { type BeginStop, JobControl } from "./job-control.ts";
import { JobList } from "./job-list.ts";
import { JobLogs } from "./job-logs.ts";
import { JobLookup } from "./job-lookup.ts";
import { JobReport } from "./job-report.ts";
import { QueueControl } from "./queue-control.ts";
import { RequestServer } from "./request-server.ts";
import { Timeline } from "./timeline.ts";
import { WaitingMessages } from "./waiting-messages.ts";

/** A record's line is cut to this much of an answer at most; NATS' default limit of a message is 1 MiB. */
const LIST_BYTES_MAX = 900 * 1024;

/** Everything that people may ask of a running installation (design P1–P4), put together as one service. */
export async function openRequestServer(options: {
  readonly connection: NatsConnection;
  readonly instance: Instance;
  /** The configured ones. */
  readonly queues: () => readonly string[];
  readonly store: Pick<JobStore, "records" | "actions"> & { readonly logs: LogTails };
  readonly jobs: JobsApi;
  readonly beginStop: BeginStop;
  /** What this monitor watches; empty on one that does not. */
  readonly liveJobs: () => Iterable<JobView>;
  readonly log: Log;
}): Promise<RequestServer> {
  const { connection, instance, queues, store, log } = options;
  const { records, actions } = store;
  const lookup = new JobLookup({ records, instance, queues });
  const cluster = new ClusterSight({ jobs: options.jobs });
  const control = new JobControl({ lookup, actions, beginStop: options.beginStop });
  const list = new JobList({ records, index: await RecordIndex.open(connection), bytesMax: LIST_BYTES_MAX });
  const logs = new JobLogs({ lookup, cluster, tails: store.logs });
  const queueControl = await QueueControl.open({ connection, records, queues });
  const report = new JobReport({
    lookup,
    cluster,
    timeline: await Timeline.open(connection),
    consumers: await QueueConsumers.open(connection),
    messages: await WaitingMessages.open(connection),
    liveJobs: options.liveJobs,
    log,
  });
  return new RequestServer({
    connection,
    log,
    handlers: {
      cancel: (request) => control.cancel(request),
      rerun: (request) => control.rerun(request),
      list: (request, signal) => list.list(request, signal),
      get: (request, signal) => report.get(request, signal),
      logs: (request) => logs.logs(request),
      queues: (request, signal) => queueControl.list(request, signal),
      pause: (request) => queueControl.pause(request),
      resume: (request) => queueControl.resume(request),
    },
  });
}
