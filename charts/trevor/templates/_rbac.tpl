{{/*
What the operator's accounts may do, stated once. The ClusterRoles and Roles under
templates/controller and templates/gateway are these rules; the fence in
templates/admission/operator-fence.yaml is made from the same rules, so that the two
cannot drift apart. tests/it/rules_used.py removes each right in turn, and something that a
test does must then be denied.
*/}}

{{/* The controller, in every namespace. */}}
{{- define "trevor.rbac.controller" -}}
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockrequests, airlockreviews, airlockactions]
  verbs: [get, list, watch]
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockpolicies]
  verbs: [list, watch]
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [releaserecords]
  verbs: [get, list]
# The finalizer; admission lets it change nothing else.
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockrequests]
  verbs: [patch]
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockrequests/status]
  verbs: [update]
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockreviews/status, airlockactions/status, airlocksessions/status, airlockpolicies/status, releaserecords/status]
  verbs: [patch]
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [releaserecords]
  verbs: [create]
# What is closed and deleted is taken out of the API after historyDays of its policy;
# admission lets no other request be deleted.
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockrequests, releaserecords]
  verbs: [delete]
# Reviews of requests that are not there are deleted after a day; admission lets no other
# review be deleted.
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockreviews]
  verbs: [delete]
# Sessions are accepted or ended, and deleted when their time is over.
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlocksessions]
  verbs: [list, watch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# Release Secrets in projects; never read. Admission limits both verbs to their type.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
# Its uid is the cluster's.
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
# Whether the admission policies are live.
- apiGroups: [admissionregistration.k8s.io]
  resources:
  - validatingadmissionpolicies
  - validatingadmissionpolicybindings
  - mutatingadmissionpolicies
  - mutatingadmissionpolicybindings
  verbs: [list, watch]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
{{- if ne (include "trevor.jobImages" .) "[]" }}
# Collecting from and delivering to volumes of projects.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Why a Job's pod failed, or cannot start: no watch, no logs.
- apiGroups: [""]
  resources: [pods, events]
  verbs: [list]
{{- end }}
{{- end -}}

{{/*
The controller's dry-run probe, in its own namespace: one name, refused by every policy. It
is an apply of what is not there, which asks for both verbs; it may patch requests anyway
where it may do so in every namespace.
*/}}
{{- define "trevor.rbac.probe" -}}
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockrequests, airlockreviews]
  resourceNames: [{{ include "trevor.probe" . }}]
  verbs: [create]
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockreviews{{ if .Values.namespaces }}, airlockrequests{{ end }}]
  resourceNames: [{{ include "trevor.probe" . }}]
  verbs: [patch]
{{- end -}}

{{/* The controller, in its own namespace. */}}
{{- define "trevor.rbac.controllerHome" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [trevor-controller]
  verbs: [get, update]
# The latest checkpoint of the ledger{{ if include "trevor.tlsAuthority" . }}, the authority of the gateway's certificate{{ end }}, and no other
# ConfigMap: two of them are what the operator is configured with, and what the admission
# rules are compared with.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [trevor-audit-checkpoint]
  verbs: [get, patch]
{{- with include "trevor.tlsAuthority" . }}
# Everybody may read this one (authority.yaml).
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ . }}]
  verbs: [patch]
# The gateway's certificate, and the authority that it is made with.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "trevor.tlsSecret" $ }}, {{ . }}]
  verbs: [get, update]
{{- if $.Values.namespaces }}
# RBAC cannot bound create by a name; admission does (operator-secrets).
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- end }}
{{- if include "trevor.packsByJobs" . }}
{{- if eq (include "trevor.jobImages" .) "[]" }}
# Packages of large requests; admission limits these Jobs to one shape.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods, events]
  verbs: [list]
{{- else if .Values.namespaces }}
# Packages of large requests; what it reads of Jobs, it reads in every namespace.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete]
{{- end }}
{{- end }}
{{- end -}}

{{/*
The controller, in the namespace `default`, where the projects are listed and it is none of
them: Kubernetes puts Events about a policy there, which has no namespace.
*/}}
{{- define "trevor.rbac.policyEvents" -}}
{{- if and .Values.namespaces (not (has "default" .Values.namespaces)) -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
{{- end -}}

{{/* The gateway. It writes none of our kinds. */}}
{{- define "trevor.rbac.gateway" -}}
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockrequests, airlocksessions, releaserecords]
  verbs: [get]
# The bounds on one file, told before its bytes are taken.
- apiGroups: [{{ include "trevor.group" . }}]
  resources: [airlockpolicies]
  verbs: [list]
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}

{{/*
One half of a list of rules, by what values.namespaces says: (list $ rules half).
Without namespaces, `cluster` is all of them and `projects` none. With namespaces,
`projects` holds the writes to kinds that live in namespaces, to be bound in each of
those; reads stay cluster-wide, because the operator watches its kinds in one stream,
and so does what has no namespace.
*/}}
{{- define "trevor.rbac.half" -}}
{{- $ := index . 0 -}}
{{- $cluster := eq (index . 2) "cluster" -}}
{{- if not $.Values.namespaces -}}
{{- if $cluster }}{{ index . 1 }}{{ end -}}
{{- else -}}
{{- $global := list "airlockpolicies" "airlockpolicies/status" "namespaces" "customresourcedefinitions" "tokenreviews" "subjectaccessreviews" "validatingadmissionpolicies" "validatingadmissionpolicybindings" "mutatingadmissionpolicies" "mutatingadmissionpolicybindings" -}}
{{- $reads := list "get" "list" "watch" -}}
{{- $half := list -}}
{{- range $rule := fromYamlArray (index . 1) -}}
  {{- $here := list -}}
  {{- $everywhere := list -}}
  {{- range $rule.resources -}}
    {{- if has . $global }}{{ $everywhere = append $everywhere . }}{{ else }}{{ $here = append $here . }}{{ end -}}
  {{- end -}}
  {{- $looks := list -}}
  {{- $acts := list -}}
  {{- range $rule.verbs -}}
    {{- if has . $reads }}{{ $looks = append $looks . }}{{ else }}{{ $acts = append $acts . }}{{ end -}}
  {{- end -}}
  {{- if $cluster -}}
    {{- if $everywhere }}{{ $half = append $half (merge (dict "resources" $everywhere) $rule) }}{{ end -}}
    {{- if and $here $looks }}{{ $half = append $half (merge (dict "resources" $here "verbs" $looks) $rule) }}{{ end -}}
  {{- else if and $here $acts -}}
    {{- $half = append $half (merge (dict "resources" $here "verbs" $acts) $rule) -}}
  {{- end -}}
{{- end -}}
{{- if $half }}{{ toYaml $half }}{{ end -}}
{{- end -}}
{{- end -}}

{{/*
The writes that a list of rules allows, as a JSON list of "group/resource OPERATION"
(as admission sees them), each with " name" where the rule names one.
*/}}
{{- define "trevor.rbac.writes" -}}
{{- $operations := dict "create" "CREATE" "update" "UPDATE" "patch" "UPDATE" "delete" "DELETE" "deletecollection" "DELETE" -}}
{{- $writes := list -}}
{{- range $rule := fromYamlArray (. | default "[]") -}}
  {{- range $group := $rule.apiGroups -}}
    {{- range $resource := $rule.resources -}}
      {{- range $verb := $rule.verbs -}}
        {{- with get $operations $verb -}}
          {{- $write := printf "%s/%s %s" $group $resource . -}}
          {{- range $name := $rule.resourceNames | default (list "") -}}
            {{- $writes = append $writes (printf "%s %s" $write $name | trim) -}}
          {{- end -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $writes | uniq | sortAlpha | toJson -}}
{{- end -}}
