{{/*
Names. Everything is called after the release: `trevor` gives trevor-controller,
trevor-airlockrequests and so on, cluster-wide objects included.
*/}}
{{- define "trevor.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "trevor.labels" -}}
app.kubernetes.io/name: trevor
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The API group of our kinds. */}}
{{- define "trevor.group" -}}
airlock.karectl.io
{{- end -}}

{{/* The name that the operator's dry-run probe uses, and that every policy refuses. */}}
{{- define "trevor.probe" -}}
trevor-probe
{{- end -}}

{{/* Usernames of the operator's two accounts. */}}
{{- define "trevor.controllerUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "trevor.name" . }}-controller
{{- end -}}
{{- define "trevor.gatewayUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "trevor.name" . }}-gateway
{{- end -}}

{{/* Whether Jobs make packages. */}}
{{- define "trevor.packsByJobs" -}}
{{- if eq .Values.controller.packaging.mode "Job" }}true{{ end -}}
{{- end -}}

{{/*
Whether the policies that fill names in are rendered. `auto` asks what the cluster
serves; `always` and `never` make the output a function of the values alone.
*/}}
{{- define "trevor.mutating" -}}
{{- if eq .Values.identity.mutating_policies "always" -}}
true
{{- else if and (eq .Values.identity.mutating_policies "auto") (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") -}}
true
{{- end -}}
{{- end -}}

{{/* The images that Jobs in projects may run, as a JSON list: the operator's own, unless values name others, or none. */}}
{{- define "trevor.jobImages" -}}
{{- if kindIs "slice" .Values.jobs.images }}{{ toJson .Values.jobs.images }}{{ else }}{{ list (include "trevor.image" .) | toJson }}{{ end -}}
{{- end -}}

{{/*
The Secret of the gateway's certificate, where it is not the operator's own making: its ca.crt,
if it is there, is whom Jobs in projects trust. Its own authority the operator knows by itself.
*/}}
{{- define "trevor.givenAuthority" -}}
{{- if not (include "trevor.tlsAuthority" .) }}{{ include "trevor.tlsSecret" . }}{{ end -}}
{{- end -}}

{{/* The policy where no AirlockPolicy applies, as JSON; null where values turn it off. */}}
{{- define "trevor.defaultPolicy" -}}
{{- if dig "create" false (.Values.default_policy | default dict) -}}
{{ omit .Values.default_policy "create" | toJson }}
{{- else -}}
null
{{- end -}}
{{- end -}}

{{/* The operator's configuration: the tree of values under its own names. */}}
{{- define "trevor.config" -}}
{{- $config := deepCopy (pick .Values "storage" "gateway" "controller" "crate" "identity" "audit" "notifications" "jobs" "log") -}}
{{- $_ := unset $config.identity "mutating_policies" -}}
{{- $_ := set $config.identity "rules" "/etc/trevor/rules/rules.yaml" -}}
{{- $_ := set $config.gateway.tls "secret" (include "trevor.tlsSecret" . | default nil) -}}
{{- $_ := set $config.gateway.tls "authority" (include "trevor.tlsAuthority" . | default nil) -}}
{{- if $config.gateway.tls.authority -}}
{{- $_ := set $config.gateway.tls "dns_names" (include "trevor.dnsNames" (list . .Values.gateway.tls.dns_names) | fromJsonArray) -}}
{{- end -}}
{{- if not $config.gateway.url -}}
{{- $port := .Values.workloads.gateway.service.port -}}
{{- $_ := set $config.gateway "url" (printf "%s://%s-gateway.%s.svc%s" (ternary "https" "http" (not (empty $config.gateway.tls.secret))) (include "trevor.name" .) .Release.Namespace (ternary (printf ":%v" $port) "" (not (empty $port)))) -}}
{{- end -}}
{{- if not $config.controller.url -}}
{{- $_ := set $config.controller "url" (printf "http://%s-controller.%s.svc:8080" (include "trevor.name" .) .Release.Namespace) -}}
{{- end -}}
{{- if include "trevor.packsByJobs" . -}}
{{- $_ := set $config.controller.packaging "job_template" "/etc/trevor/config/packaging-job.yaml" -}}
{{- end -}}
{{- if not (dig "publisher" "name" "" $config.crate) -}}
{{- $_ := unset $config.crate "publisher" -}}
{{- end -}}
{{- $_ := set $config.jobs "images" (fromJsonArray (include "trevor.jobImages" .)) -}}
{{- $_ := set $config "default_policy" (include "trevor.defaultPolicy" . | fromJson) -}}
{{- if $config.jobs.ca_bundle -}}
{{- else if or .Values.trust.gateway.config_map .Values.trust.gateway.secret -}}
{{- $_ := set $config.jobs "ca_bundle" "/etc/trevor/trust/gateway.pem" -}}
{{- else if include "trevor.givenAuthority" . -}}
{{- $_ := set $config.jobs "ca_bundle_if_any" "/etc/trevor/gateway-ca/ca.crt" -}}
{{- end -}}
{{/* Seconds, where tests set them, take the place of days. */}}
{{- range list "quarantine_retention" "release_retention" -}}
{{- if get $config.storage (printf "%s_seconds" .) -}}
{{- $_ := unset $config.storage (printf "%s_days" .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
