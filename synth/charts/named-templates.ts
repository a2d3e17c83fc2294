import type { Helper } from "../helm/chart-files.ts";
import { v } from "../values.ts";
import { natsConfig } from "./nats.ts";

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
  "millrace.natsConfig": { doc: "The configuration of nats-server.", text: natsConfig },
};
