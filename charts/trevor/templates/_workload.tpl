{{/*
Pieces of the pods: controller, gateway, `helm test`, and the Job before uninstall. Each
pod gets the storage identities of its process and no others.
*/}}

{{- define "trevor.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What selects a process's pods, for ever: (list $ component). */}}
{{- define "trevor.selector" -}}
app.kubernetes.io/name: trevor
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The port of an address such as 0.0.0.0:8443. */}}
{{- define "trevor.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* The credentials of one identity, as the operator's variables: (list identity secret). Nothing without a Secret. */}}
{{- define "trevor.credentials" -}}
{{- $identity := index . 0 -}}
{{- with index . 1 -}}
{{- $secret := . -}}
{{- range $key, $optional := dict "access_key_id" false "secret_access_key" false "session_token" true "expiration" true }}
- name: TREVOR_S3_{{ $identity }}_{{ upper $key }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $key }}{{ if $optional }}, optional: true{{ end }}}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The controller's identities, and its other secrets. */}}
{{- define "trevor.controllerEnv" -}}
{{- $storage := .Values.storage -}}
{{- include "trevor.credentials" (list "QUARANTINE" $storage.quarantine.credentials_secret) -}}
{{- include "trevor.credentials" (list "RELEASE" $storage.release.credentials_secret) -}}
{{- with $storage.records }}{{ include "trevor.credentials" (list "RECORDS" (get . "credentials_secret")) }}{{ end -}}
{{- with $storage.staging }}{{ include "trevor.credentials" (list "STAGING" (get . "credentials_secret")) }}{{ end -}}
{{- include "trevor.credentials" (list "SIGNING" (dig "signing" "credentials_secret" "" $storage.release)) -}}
{{- with .Values.audit.signing_key_secret }}
- name: TREVOR_AUDIT_SIGNING_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: TREVOR_AUDIT_SIGNING_KEY}
{{- end }}
{{- range .Values.notifications.channels }}
{{- if .credentials_secret }}
{{- $what := ternary "password" "signing_secret" (hasKey . "smtp") }}
- name: TREVOR_NOTIFY_{{ .name | upper | replace "-" "_" }}_{{ upper $what }}
  valueFrom:
    secretKeyRef: {name: {{ .credentials_secret }}, key: {{ $what }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The gateway's: none for the release bucket, ever. */}}
{{- define "trevor.gatewayEnv" -}}
{{- $credentials := .Values.workloads.gateway.credentials -}}
{{- include "trevor.credentials" (list "QUARANTINE" $credentials.quarantine) -}}
{{- if .Values.storage.records }}{{ include "trevor.credentials" (list "RECORDS" $credentials.records) }}{{ end -}}
{{- if .Values.storage.staging }}{{ include "trevor.credentials" (list "STAGING" $credentials.staging) }}{{ end -}}
{{- end -}}

{{/*
The Secrets behind a process's variables a second time, as files: a process that sees one
change ends, and starts again with the new value. (list $ env)
*/}}
{{- define "trevor.credentialFiles" -}}
{{- $env := fromYamlArray (index . 1 | default "[]") -}}
{{- if $env -}}
- name: credentials
  projected:
    defaultMode: 0440
    sources:
    {{- range $variable := $env }}
    {{- with $variable.valueFrom.secretKeyRef }}
    - secret: {name: {{ .name }}{{ if .optional }}, optional: true{{ end }}, items: [{key: {{ .key }}, path: {{ $variable.name }}}]}
    {{- end }}
    {{- end }}
{{- end -}}
{{- end -}}

{{/* A packaging Job's: Secrets of its own, or the controller's. None signs, none for staging. */}}
{{- define "trevor.packagingSecret" -}}
{{- $ := index . 0 -}}
{{- $zone := index . 1 -}}
{{- get $.Values.workloads.packaging.credentials $zone | default (get (get $.Values.storage $zone | default dict) "credentials_secret" | default "") -}}
{{- end -}}
{{- define "trevor.packagingEnv" -}}
{{- include "trevor.credentials" (list "QUARANTINE" (include "trevor.packagingSecret" (list . "quarantine"))) -}}
{{- if .Values.storage.records }}{{ include "trevor.credentials" (list "RECORDS" (include "trevor.packagingSecret" (list . "records"))) }}{{ end -}}
{{- include "trevor.credentials" (list "RELEASE" (include "trevor.packagingSecret" (list . "release"))) -}}
{{- end -}}

{{/* What every container has besides. */}}
{{- define "trevor.commonEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- include "trevor.trustEnv" . }}
{{- end -}}
{{- define "trevor.trustEnv" -}}
{{- if include "trevor.trusts" . }}
# The image's public authorities, and those of values.trust.
- {name: SSL_CERT_FILE, value: /etc/ssl/certs/ca-certificates.crt}
- {name: SSL_CERT_DIR, value: /etc/trevor/trust}
{{- end }}
{{- end -}}

{{- define "trevor.trusts" -}}
{{- range .Values.trust }}{{ if or .config_map .secret }}true{{ end }}{{ end -}}
{{- end -}}

{{/* Pod Security `restricted`. */}}
{{- define "trevor.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "trevor.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "trevor.mounts" -}}
- {name: api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
- {name: config, mountPath: /etc/trevor/config, readOnly: true}
- {name: rules, mountPath: /etc/trevor/rules, readOnly: true}
{{- if include "trevor.trusts" . }}
- {name: trust, mountPath: /etc/trevor/trust, readOnly: true}
{{- end }}
{{- end -}}

{{- define "trevor.volumes" -}}
# A token bound to this pod: the admission policies know the operator by it.
- name: api-access
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
- name: config
  configMap: {name: {{ include "trevor.name" . }}-config}
- name: rules
  configMap: {name: {{ include "trevor.name" . }}-rules}
{{- include "trevor.trustVolume" . }}
{{- end -}}
{{- define "trevor.trustVolume" -}}
{{- if include "trevor.trusts" . }}
- name: trust
  projected:
    sources:
    {{- range $who, $trust := .Values.trust }}
    {{- with $trust.config_map }}
    - configMap: {name: {{ . }}, items: [{key: {{ $trust.key | quote }}, path: {{ $who }}.pem}]}
    {{- end }}
    {{- with $trust.secret }}
    - secret: {name: {{ . }}, items: [{key: {{ $trust.key | quote }}, path: {{ $who }}.pem}]}
    {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Where pods go: (list $ component values). */}}
{{- define "trevor.placement" -}}
{{- $selector := include "trevor.selector" (list (index . 0) (index . 1)) -}}
{{- with index . 2 -}}
topologySpreadConstraints:
{{- if kindIs "slice" .topologySpreadConstraints }} {{ toYaml .topologySpreadConstraints | nindent 0 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- $selector | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The beginning of every pod's spec: (list $ account). */}}
{{- define "trevor.podBasics" -}}
{{- $ := index . 0 -}}
serviceAccountName: {{ include "trevor.name" $ }}-{{ index . 1 }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "trevor.podSecurity" $ | nindent 2 }}
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whatever must restart the pods when it changes. Secrets do not: this sees none of them. */}}
{{- define "trevor.checksums" -}}
airlock.karectl.io/config-sha256: {{ printf "%s%s" (include "trevor.config" .) (include "trevor.packagingJob" .) | sha256sum }}
airlock.karectl.io/rules-sha256: {{ include "trevor.rules" . | sha256sum }}
{{- end -}}
