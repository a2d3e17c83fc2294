{{- /* Generated from synth/ by `npm run chart`. Do not edit. */ -}}

{{- /* The name in labels. */}}
{{- define "millrace.name" -}}
{{- $.Values.nameOverride | default $.Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* The prefix of all object names. At most 47 characters; without dots, which a Service's name must not have. */}}
{{- define "millrace.fullname" -}}
{{- $name := $.Values.nameOverride | default $.Chart.Name -}}
{{- $full := contains $name $.Release.Name | ternary $.Release.Name (printf "%s-%s" $.Release.Name $name) -}}
{{- $.Values.fullnameOverride | default $full | replace "." "-" | trunc 47 | trimSuffix "-" -}}
{{- end }}

{{- /* Name and version of the chart, as a label. */}}
{{- define "millrace.chart" -}}
{{- printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* An image reference out of registry, repository, tag and digest. */}}
{{- define "millrace.image" -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- /* The namespaces in which Jobs may run, separated by commas; the default one first, none twice. */}}
{{- define "millrace.jobNamespaces" -}}
{{- $default := $.Values.jobs.namespace | default $.Release.Namespace -}}
{{- concat (list $default) ($.Values.jobs.extraNamespaces | default list) | uniq | join "," -}}
{{- end }}

{{- /* A size such as 8Gi, in bytes. */}}
{{- define "millrace.bytes" -}}
{{- $unit := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mul (regexFind "^[0-9]+" .) (get $unit (regexFind "[KMGT]i$" .)) -}}
{{- end }}

{{- /* Topology spread constraints, of which those without a labelSelector get one for the pods themselves. */}}
{{- define "millrace.topologySpread" -}}
{{- $selector := dict "matchLabels" .labels -}}
{{- $all := list -}}
{{- range .constraints -}}
{{- $all = append $all (ternary . (set (deepCopy .) "labelSelector" $selector) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{- /* The names in a list of environment variables that are the chart's own, or there twice; separated by commas. */}}
{{- define "millrace.repeatedNames" -}}
{{- $seen := .ours -}}
{{- $repeated := list -}}
{{- range .extra -}}
{{- if has .name $seen -}}{{- $repeated = append $repeated .name -}}{{- end -}}
{{- $seen = append $seen .name -}}
{{- end -}}
{{- $repeated | uniq | join ", " -}}
{{- end }}

{{- /* The queues that take raw messages, separated by commas. */}}
{{- define "millrace.rawQueues" -}}
{{- $names := list -}}
{{- range $name, $queue := $.Values.queues -}}
{{- if dig "policy" "raw" false ($queue | default dict) -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- $names | join ", " -}}
{{- end }}

{{- /* The configuration of nats-server. */}}
{{- define "millrace.natsConfig" -}}
server_name: $POD_NAME
port: 4222
http: 8222
max_payload: 2MiB
jetstream {
  store_dir: /data
  max_file_store: {{ $.Values.nats.maxFileStore }}
  max_memory_store: {{ $.Values.nats.maxMemoryStore }}
  sync_interval: always
}{{ if ne $.Values.nats.extraConfig "" }}

{{ $.Values.nats.extraConfig | trimSuffix "\n" }}{{ end }}
{{- end }}
