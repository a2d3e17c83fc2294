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

{{- /* Queues, templates and workers, as the services read them. Of workers only what services need: their environment is nobody else's business. */}}
{{- define "millrace.config" -}}
{{- $config := dict "queues" ($.Values.queues | default dict) "templates" ($.Values.templates | default dict) -}}
{{- $workers := dict -}}
{{- range $name, $worker := $.Values.workers -}}
{{- $_ := set $workers $name (pick $worker "subject" "concurrency" "min" "max" "lagThreshold" "timeout" "retry" "trigger" "cooldown" "deletionCost") -}}
{{- end -}}
{{- with $workers -}}{{- $_ := set $config "workers" . -}}{{- end -}}
{{- toPrettyJson $config -}}
{{- end }}

{{- /* Environment variables out of a map. */}}
{{- define "millrace.environment" -}}
{{- $all := list -}}
{{- range $name, $value := . -}}{{- $all = append $all (dict "name" $name "value" $value) -}}{{- end -}}
{{- toJson $all -}}
{{- end }}

{{- /* A duration such as 1h30m, in milliseconds; at most one more than ten years, whatever it says. */}}
{{- define "millrace.milliseconds" -}}
{{- $unit := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $all := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 -}}
{{- $each := get $unit (regexFind "[a-z]+$" .) -}}
{{- $amount := regexFind "^[0-9]+" . | regexFind "[1-9][0-9]*" -}}
{{- $amount = gt (len $amount) 15 | ternary "999999999999999" $amount | min (div 315360000000 $each | add1) -}}
{{- $all = mul $amount $each | add $all | min 315360000001 -}}
{{- end -}}
{{- $all -}}
{{- end }}

{{- /* The workers whose busy pods are marked, separated by commas. */}}
{{- define "millrace.markedWorkers" -}}
{{- $names := list -}}
{{- range $name, $worker := $.Values.workers -}}
{{- if dig "deletionCost" false $worker -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- $names | join ", " -}}
{{- end }}

{{- /* The first worker whose subject begins with a name of Millrace's own, and that subject. */}}
{{- define "millrace.reservedSubjects" -}}
{{- $found := "" -}}
{{- range $name, $worker := $.Values.workers -}}
{{- if has (splitList "." $worker.subject | first) (list "jobs" "retry" "events" "dlq" "work" "millrace") -}}
{{- $found = $found | default (printf "workers.%s.subject (%s)" $name $worker.subject) -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end }}

{{- /* The first two workers that would take the same message, and their subjects. */}}
{{- define "millrace.overlappingWorkers" -}}
{{- $found := "" -}}
{{- range $one, $a := $.Values.workers -}}
{{- range $other, $b := $.Values.workers -}}
{{- if and (lt $one $other) (eq $found "") (eq (include "millrace.subjectsOverlap" (dict "a" $a.subject "b" $b.subject)) "true") -}}
{{- $found = printf "%s (%s) and %s (%s) would take the same messages" $one $a.subject $other $b.subject -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found -}}
{{- end }}

{{- /* Whether some subject of NATS matches both a and b. */}}
{{- define "millrace.subjectsOverlap" -}}
{{- $a := splitList "." .a -}}
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
{{- $overlap | default "true" -}}
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
