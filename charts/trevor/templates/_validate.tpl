{{/*
What the schema cannot say, in the words of the operator's own check at start
(src/config.rs), so that a wrong value fails the installation and not the pod.
*/}}
{{- define "trevor.validate" -}}
{{- $storage := .Values.storage -}}
{{- range $zone := list "quarantine" "release" "records" "staging" -}}
  {{- with get $storage $zone -}}
    {{- range $name := list "endpoint" "public_endpoint" -}}
      {{- if and (hasPrefix "http://" (get (get $storage $zone) $name | default "")) (not $storage.allow_http) -}}
        {{- fail (printf "storage.%s.%s: is plain http; use https, or set storage.allow_http: true for a test" $zone $name) -}}
      {{- end -}}
    {{- end -}}
    {{- if and .kms_key_id (ne (.encryption | default "AES256") "aws:kms") -}}
      {{- fail (printf "storage.%s.kms_key_id: needs encryption: aws:kms" $zone) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range list
    (list "release" "quarantine" "is the quarantine bucket; release needs one of its own")
    (list "records" "release" "is the release bucket; records stay inside the boundary")
    (list "staging" "release" "is the release bucket; staging needs one of its own")
    (list "staging" "records" "is the records bucket; outsiders write to staging, so it needs one of its own")
    (list "staging" "quarantine" "is the quarantine bucket; use another, or set storage.allow_shared_bucket: true") -}}
  {{- $one := get $storage (index . 0) -}}
  {{- $other := get $storage (index . 1) -}}
  {{- if and $one $other -}}
    {{- $allowed := and $storage.allow_shared_bucket (eq (index . 0) "staging") (eq (index . 1) "quarantine") -}}
    {{- if and (eq $one.bucket $other.bucket) (eq ($one.endpoint | default "") ($other.endpoint | default "")) (not $allowed) -}}
      {{- fail (printf "storage.%s.bucket: %s" (index . 0) (index . 2)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range list "quarantine_retention_seconds" "release_retention_seconds" -}}
  {{- if and (get $storage .) (not $storage.allow_short_retention) -}}
    {{- fail (printf "storage.%s: needs storage.allow_short_retention: true" .) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.certificate.create (not .Values.certificate.issuer.name) -}}
  {{- fail "certificate.issuer.name: is missing; name the issuer of cert-manager" -}}
{{- end -}}
{{- range $who, $trust := .Values.trust -}}
  {{- if and $trust.config_map $trust.secret -}}
    {{- fail (printf "trust.%s: has a ConfigMap and a Secret; keep one" $who) -}}
  {{- end -}}
{{- end -}}
{{- if .Values.workloads.enabled }}{{ include "trevor.validate.workloads" . }}{{ end -}}
{{- end -}}

{{- define "trevor.validate.workloads" -}}
{{- if and .Values.certificate.create .Values.gateway.tls.allow_plaintext -}}
  {{- fail "gateway.tls.allow_plaintext: contradicts certificate.create; keep one" -}}
{{- end -}}
{{- range $zone, $secret := .Values.workloads.gateway.credentials -}}
  {{- $of := get $.Values.storage $zone | default dict -}}
  {{- if and $secret (eq $secret (get $of "credentials_secret" | default "")) -}}
    {{- fail (printf "workloads.gateway.credentials.%s: is the controller's Secret; the gateway needs an identity of its own, which deletes nothing" $zone) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The gateway's Secret: the one named, cert-manager's, or the operator's own. Empty: it serves without TLS. */}}
{{- define "trevor.tlsSecret" -}}
{{- if .Values.gateway.tls.secret -}}
{{ .Values.gateway.tls.secret }}
{{- else if .Values.certificate.create -}}
{{ include "trevor.name" . }}-gateway-tls
{{- else if not .Values.gateway.tls.allow_plaintext -}}
{{ include "trevor.name" . }}-gateway-serving
{{- end -}}
{{- end -}}

{{/*
Secret and ConfigMap of the authority with which the operator makes the gateway's
certificate by itself. Empty: somebody else makes it, or nobody.
*/}}
{{- define "trevor.tlsAuthority" -}}
{{- if not (or .Values.gateway.tls.secret .Values.certificate.create .Values.gateway.tls.allow_plaintext) -}}
{{ include "trevor.name" . }}-gateway-ca
{{- end -}}
{{- end -}}

{{/*
Whom a certificate of cert-manager's is for: the Service, the host of gateway.url and what
values list. JSON: {"dns": […], "ip": […]}.
*/}}
{{- define "trevor.certificateNames" -}}
{{- $host := regexReplaceAll ":[0-9]+$" (urlParse (.Values.gateway.url | default "")).host "" | trimAll "[]" | lower -}}
{{- $more := concat .Values.certificate.dns_names .Values.gateway.tls.dns_names (empty $host | ternary list (list $host)) -}}
{{- $dns := list -}}
{{- $ip := list -}}
{{- range include "trevor.dnsNames" (list . $more) | fromJsonArray -}}
  {{- if or (contains ":" .) (regexMatch "^[0-9]{1,3}([.][0-9]{1,3}){3}$" .) }}{{ $ip = append $ip . }}{{ else }}{{ $dns = append $dns . }}{{ end -}}
{{- end -}}
{{- dict "dns" $dns "ip" $ip | toJson -}}
{{- end -}}

{{/* The names by which the cluster reaches the gateway's Service, and those of a list: JSON. */}}
{{- define "trevor.dnsNames" -}}
{{- $service := printf "%s-gateway.%s.svc" (include "trevor.name" (index . 0)) (index . 0).Release.Namespace -}}
{{- concat (list $service (printf "%s.cluster.local" $service)) (index . 1) | uniq | toJson -}}
{{- end -}}
