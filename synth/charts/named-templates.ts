import { RESERVED_SUBJECTS } from "../../libs/contract/work-config.ts";
import type { Helper } from "../helm/chart-files.ts";
import { goString } from "../helm/expression.ts";
import { v, workerConfigFields } from "../values.ts";
import { natsConfig } from "./nats.ts";
import { LONGEST_MS } from "./worker-values.ts";

/** The named templates. What TypeScript can do is not here: these depend on the release, and are used in many places. */
export const namedTemplates: { [name: string]: Helper } = {
  "millrace.name": {
    doc: "The name in labels.",
    code: `{{- ${v.nameOverride.code} | default $.Chart.Name | trunc 63 | trimSuffix "-" -}}`,
  },
  // A StatefulSet's name may have 52 characters, or its pods cannot carry their label `controller-revision-hash`.
  "millrace.fullname": {
    doc: "The prefix of all object names. At most 47 characters; without dots, which a Service's name must not have.",
    code: `{{- $name := ${v.nameOverride.code} | default $.Chart.Name -}}
{{- $full := contains $name $.Release.Name | ternary $.Release.Name (printf "%s-%s" $.Release.Name $name) -}}
{{- ${v.fullnameOverride.code} | default $full | replace "." "-" | trunc 47 | trimSuffix "-" -}}`,
  },
  "millrace.chart": {
    doc: "Name and version of the chart, as a label.",
    code: `{{- printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}`,
  },
  "millrace.image": {
    doc: "An image reference out of registry, repository, tag and digest.",
    code: `{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}`,
  },
  "millrace.jobNamespaces": {
    doc: "The namespaces in which Jobs may run, separated by commas; the default one first, none twice.",
    code: `{{- $default := ${v.jobs.namespace.code} | default $.Release.Namespace -}}
{{- concat (list $default) (${v.jobs.extraNamespaces.code} | default list) | uniq | join "," -}}`,
  },
  "millrace.bytes": {
    doc: "A size such as 8Gi, in bytes.",
    code: `{{- $unit := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul (regexFind "^[0-9]+" .) (get $unit (regexFind "[KMGT]i$" .)) -}}`,
  },
  "millrace.topologySpread": {
    doc: "Topology spread constraints, of which those without a labelSelector get one for the pods themselves.",
    code: `{{- $selector := dict "matchLabels" .labels -}}
{{- $all := list -}}
{{- range .constraints -}}
{{- $all = append $all (ternary . (set (deepCopy .) "labelSelector" $selector) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- toJson $all -}}`,
  },
  "millrace.repeatedNames": {
    doc: "The names in a list of environment variables that are the chart's own, or there twice; separated by commas.",
    code: `{{- $seen := .ours -}}
{{- $repeated := list -}}
{{- range .extra -}}
{{- if has .name $seen -}}{{- $repeated = append $repeated .name -}}{{- end -}}
{{- $seen = append $seen .name -}}
{{- end -}}
{{- $repeated | uniq | join ", " -}}`,
  },
  "millrace.rawQueues": {
    doc: "The queues that take raw messages, separated by commas.",
    code: `{{- $names := list -}}
{{- range $name, $queue := ${v.queues.code} -}}
{{- if dig "policy" "raw" false ($queue | default dict) -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- $names | join ", " -}}`,
  },
  "millrace.config": {
    doc: "Queues, templates and workers, as the services read them. Of workers only what services need: their environment is nobody else's business.",
    code: `{{- $config := dict "queues" (${v.queues.code} | default dict) "templates" (${v.templates.code} | default dict) -}}
{{- $workers := dict -}}
{{- range $name, $worker := ${v.workers.code} -}}
{{- $_ := set $workers $name (pick $worker ${workerConfigFields.map(goString).join(" ")}) -}}
{{- end -}}
{{- with $workers -}}{{- $_ := set $config "workers" . -}}{{- end -}}
{{- toPrettyJson $config -}}`,
  },
  "millrace.environment": {
    doc: "Environment variables out of a map.",
    code: `{{- $all := list -}}
{{- range $name, $value := . -}}{{- $all = append $all (dict "name" $name "value" $value) -}}{{- end -}}
{{- toJson $all -}}`,
  },
  "millrace.milliseconds": {
    doc: "A duration such as 1h30m, in milliseconds; at most one more than ten years, whatever it says.",
    code: `{{- $unit := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $all := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 -}}
{{- $each := get $unit (regexFind "[a-z]+$" .) -}}
{{- $amount := regexFind "^[0-9]+" . | regexFind "[1-9][0-9]*" -}}
{{- $amount = gt (len $amount) 15 | ternary "999999999999999" $amount | min (div ${LONGEST_MS} $each | add1) -}}
{{- $all = mul $amount $each | add $all | min ${LONGEST_MS + 1} -}}
{{- end -}}
{{- $all -}}`,
  },
  "millrace.markedWorkers": {
    doc: "The workers whose busy pods are marked, separated by commas.",
    code: `{{- $names := list -}}
{{- range $name, $worker := ${v.workers.code} -}}
{{- if dig "deletionCost" false $worker -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- $names | join ", " -}}`,
  },
  "millrace.reservedSubjects": {
    doc: "The first worker whose subject begins with a name of Millrace's own, and that subject.",
    code: `{{- $found := "" -}}
{{- range $name, $worker := ${v.workers.code} -}}
{{- if has (splitList "." $worker.subject | first) (list ${RESERVED_SUBJECTS.map(goString).join(" ")}) -}}
{{- $found = $found | default (printf "workers.%s.subject (%s)" $name $worker.subject) -}}
{{- end -}}
{{- end -}}
{{- $found -}}`,
  },
  "millrace.overlappingWorkers": {
    doc: "The first two workers that would take the same message, and their subjects.",
    code: `{{- $found := "" -}}
{{- range $one, $a := ${v.workers.code} -}}
{{- range $other, $b := ${v.workers.code} -}}
{{- if and (lt $one $other) (eq $found "") (eq (include "millrace.subjectsOverlap" (dict "a" $a.subject "b" $b.subject)) "true") -}}
{{- $found = printf "%s (%s) and %s (%s) would take the same messages" $one $a.subject $other $b.subject -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found -}}`,
  },
  "millrace.subjectsOverlap": {
    doc: "Whether some subject of NATS matches both a and b.",
    code: `{{- $a := splitList "." .a -}}
{{- $b := splitList "." .b -}}
{{- $overlap := "" -}}
{{- range $at := until (max (len $a) (len $b) | int) -}}
{{- if eq $overlap "" -}}
{{- if or (ge $at (len $a)) (ge $at (len $b)) -}}{{- $overlap = "false" -}}
{{- else if or (eq (index $a $at) ">") (eq (index $b $at) ">") -}}{{- $overlap = "true" -}}
{{- else if not (or (eq (index $a $at) "*") (eq (index $b $at) "*") (eq (index $a $at) (index $b $at))) -}}{{- $overlap = "false" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $overlap | default "true" -}}`,
  },
  "millrace.natsConfig": { doc: "The configuration of nats-server.", text: natsConfig },
};
