import { defaultJobNamespace, jobNamespaces, named, release } from "../release.ts";

const inNamespace = `-n ${release.namespace}`;

/** What Helm prints after an installation. */
export const notes = `Millrace is installed as ${release.instance}. Jobs may run in: ${jobNamespaces}

Wait until it is ready:

  kubectl ${inNamespace} rollout status statefulset/${named("nats")} deployment/${named("dispatcher")} deployment/${named("monitor")}

Publish a first message, and watch it become a Job:

  kubectl ${inNamespace} port-forward service/${named("nats")} 4222 &
  nats pub jobs.default.hello '{"template": "hello", "params": {"name": "world"}}'
  kubectl -n ${defaultJobNamespace} get jobs -w -l millrace.dev/instance=${release.instance}

If nothing happens, look here:

  kubectl ${inNamespace} logs deployment/${named("dispatcher")}     takes messages, creates Jobs
  kubectl ${inNamespace} logs deployment/${named("monitor")}        watches Jobs, settles their messages
  kubectl ${inNamespace} get configmap ${named("config")} -o yaml   queues and templates; an edit by helm upgrade is live at once
`;
