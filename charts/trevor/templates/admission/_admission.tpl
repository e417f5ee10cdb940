{{/*
Pieces that the admission policies share. Each file here defines one named template
(policy and binding) and renders it, so that the same text can be rendered a second
time for the operator, which compares it with what the cluster serves. For that the
API server's defaults are written out: namespaceSelector, objectSelector, scope.
*/}}

{{/*
Rules about what people do stay at uninstall, as the definitions do: Helm installs roles before
admission policies, so that with the next installation roles that are bound already would count for
some seconds without the rules that bound them.
*/}}
{{- define "trevor.admission.kept" -}}
{{- if .Values.crds.keep -}}
annotations:
  helm.sh/resource-policy: keep
{{- end -}}
{{- end -}}

{{/* A binding of a policy: (list $ name), or (list $ name "kept"). */}}
{{- define "trevor.admission.binding" -}}
{{- $ := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "trevor.name" $ }}-{{ index . 1 }}
  labels: {{- include "trevor.labels" $ | nindent 4 }}
  {{- if gt (len .) 2 }}
  {{- include "trevor.admission.kept" $ | nindent 2 }}
  {{- end }}
spec:
  policyName: {{ include "trevor.name" $ }}-{{ index . 1 }}
  validationActions: [Deny, Audit]
{{- end -}}

{{- define "trevor.admission.mutatingBinding" -}}
{{- $ := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {{ include "trevor.name" $ }}-{{ index . 1 }}
  labels: {{- include "trevor.labels" $ | nindent 4 }}
spec:
  policyName: {{ include "trevor.name" $ }}-{{ index . 1 }}
{{- end -}}

{{/* matchConstraints for kinds of ours: (list $ resources operations). */}}
{{- define "trevor.admission.match" -}}
matchPolicy: Equivalent
namespaceSelector: {}
objectSelector: {}
resourceRules:
- apiGroups: [{{ include "trevor.group" (index . 0) }}]
  apiVersions: [v1alpha1]
  resources: {{ toJson (index . 1) }}
  operations: {{ toJson (index . 2) }}
  scope: "*"
{{- end -}}

{{/*
The operator's controller: its account, by a token that is bound to a pod, so that
neither `kubectl --as` nor a token made by hand passes for it.
*/}}
{{- define "trevor.admission.isOperator" -}}
request.userInfo.username == '{{ include "trevor.controllerUser" . }}'
{{- if .Values.identity.require_pod_bound_token }}
&& request.userInfo.?extra['authentication.kubernetes.io/pod-name'].hasValue()
{{- end }}
{{- if .Values.identity.require_credential_id }}
&& request.userInfo.?extra['authentication.kubernetes.io/credential-id'].hasValue()
{{- end }}
{{- end -}}

{{/* Who asks, and what has changed. */}}
{{- define "trevor.admission.variables" -}}
- name: user
  expression: request.userInfo.username
- name: operator
  expression: >-
    {{- include "trevor.admission.isOperator" . | nindent 4 }}
# Kubernetes' own clean-up: garbage collector, namespace deletion.
- name: collector
  expression: >-
    request.userInfo.username in [
    'system:serviceaccount:kube-system:generic-garbage-collector',
    'system:serviceaccount:kube-system:namespace-controller',
    'system:kube-controller-manager']
# Made by the account of a backup tool: Velero marks what it restores.
- name: restored
  expression: >-
    request.operation == 'CREATE' && request.userInfo.username.startsWith('system:')
    && object.metadata.?labels.orValue({}).exists(label, label.startsWith('velero.io/'))
- name: going
  expression: namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp)
# Byte-equal, managedFields included: storage migration does this.
- name: noop
  expression: request.operation == 'UPDATE' && object == oldObject
- name: bare
  expression: >-
    object.metadata.?finalizers.orValue([]).size() == 0
    && object.metadata.?ownerReferences.orValue([]).size() == 0
- name: sameFinalizers
  expression: object.metadata.?finalizers.orValue([]) == oldObject.metadata.?finalizers.orValue([])
- name: sameOwners
  expression: object.metadata.?ownerReferences.orValue([]) == oldObject.metadata.?ownerReferences.orValue([])
# Nothing but finalizers and ownerReferences can have changed.
- name: untouched
  expression: >-
    object.spec == oldObject.spec
    && object.metadata.?labels.orValue({}) == oldObject.metadata.?labels.orValue({})
    && object.metadata.?annotations.orValue({}) == oldObject.metadata.?annotations.orValue({})
{{- end -}}

{{/* The first rule of each policy about what is tied to who made it, or to a uid. */}}
{{- define "trevor.admission.notRestored" -}}
- expression: "!variables.restored"
  message: >-
    {{ . }} are not restored from a backup: who made them and their uids would be others. Leave airlockrequests,
    airlockreviews, airlockactions, airlocksessions and releaserecords out of the restore (velero restore create
    --exclude-resources); the buckets have what was decided and released, and README, "After a restore", says how to go on
  reason: Forbidden
{{- end -}}

{{/* What the schema cannot bound, and what etcd must have room for beside what the operator writes. */}}
{{- define "trevor.admission.bounds" -}}
- expression: >-
    request.operation == 'DELETE' || object.metadata.?labels.orValue({}).size() <= 100
    || (request.operation == 'UPDATE' && object.metadata.?labels.orValue({}) == oldObject.metadata.?labels.orValue({}))
  message: an object has at most 100 labels; remove some
  reason: Forbidden
- expression: >-
    request.operation == 'DELETE' || variables.operator || variables.collector
    || object.metadata.?managedFields.orValue([]).size() <= 64
    || (request.operation == 'UPDATE'
    && object.metadata.?managedFields.orValue([]).size() <= oldObject.metadata.?managedFields.orValue([]).size())
  message: an object has at most 64 field managers; apply with one that is there already
  reason: Forbidden
{{- end -}}

{{/* The last rule of each policy about a kind of ours. */}}
{{- define "trevor.admission.probe" -}}
- expression: request.operation != 'CREATE' || object.metadata.?name.orValue('') != '{{ include "trevor.probe" . }}'
  message: "the name {{ include "trevor.probe" . }} is kept for the operator's probe; choose another"
  reason: Forbidden
{{- end -}}

{{/* Reviews and actions, once made, stay as they are: UPDATE and DELETE. */}}
{{- define "trevor.admission.appendOnly" -}}
- expression: >-
    request.operation != 'UPDATE' || variables.noop
    || (variables.collector && variables.untouched)
  message: {{ . }} are never changed; create another one instead
  reason: Forbidden
- expression: >-
    request.operation != 'DELETE' || variables.collector || variables.going
    {{- if eq . "reviews" }}
    || (variables.operator && oldObject.?status.?reason.orValue('') == 'UnknownRequest')
    {{- end }}
  message: {{ . }} are never deleted; they go with their namespace
  reason: Forbidden
- expression: request.operation != 'CREATE' || variables.bare
  message: {{ . }} are created without finalizers and ownerReferences; remove them from the manifest
  reason: Forbidden
{{- end -}}

{{/* A delegate of this namespace, as CEL; the list is JSON, which CEL reads as it is. */}}
{{- define "trevor.admission.delegates" -}}
{{ toJson .Values.identity.delegates }}
{{- end -}}
{{- define "trevor.admission.isDelegate" -}}
{{- if .Values.identity.delegates -}}
[request.namespace + '/' + request.userInfo.username, '*/' + request.userInfo.username].exists(d, d in {{ include "trevor.admission.delegates" . }})
{{- else -}}
false
{{- end -}}
{{- end -}}

{{/* matchConditions: the request is made by one of the operator's own accounts, however it got there. */}}
{{- define "trevor.admission.isOperatorAccount" -}}
- name: operator-account
  expression: >-
    request.userInfo.username in ['{{ include "trevor.controllerUser" . }}', '{{ include "trevor.gatewayUser" . }}']
{{- end -}}

{{/* What holds of every Job of the operator's: nothing from the node, and Pod Security `restricted`. */}}
{{- define "trevor.admission.restrictedPod" -}}
- expression: >-
    request.operation != 'CREATE'
    || (!variables.pod.?hostNetwork.orValue(false) && !variables.pod.?hostPID.orValue(false)
    && !variables.pod.?hostIPC.orValue(false) && !has(variables.pod.nodeName)
    && variables.pod.?hostAliases.orValue([]).size() == 0 && variables.pod.?resourceClaims.orValue([]).size() == 0)
  message: the operator's Jobs take nothing from the host (no hostNetwork, hostPID, hostIPC, hostAliases, nodeName, resourceClaims)
  reason: Forbidden
- expression: >-
    request.operation != 'CREATE'
    || (variables.pod.?securityContext.?runAsNonRoot.orValue(false)
    && variables.pod.?securityContext.?seccompProfile.?type.orValue('') == 'RuntimeDefault'
    && variables.pod.?securityContext.?runAsUser.orValue(1) != 0
    && variables.pod.?securityContext.?sysctls.orValue([]).size() == 0
    && !variables.pod.?securityContext.?seLinuxOptions.hasValue()
    && !variables.pod.?securityContext.?windowsOptions.hasValue()
    && !variables.pod.?securityContext.?appArmorProfile.hasValue())
  message: "pods of the operator's Jobs set runAsNonRoot and seccompProfile RuntimeDefault"
  reason: Forbidden
- expression: >-
    request.operation != 'CREATE' || variables.containers.all(c,
    c.?securityContext.?allowPrivilegeEscalation.orValue(true) == false
    && 'ALL' in c.?securityContext.?capabilities.?drop.orValue([])
    && c.?securityContext.?capabilities.?add.orValue([]).size() == 0
    && !c.?securityContext.?privileged.orValue(false)
    && c.?securityContext.?runAsNonRoot.orValue(true)
    && c.?securityContext.?runAsUser.orValue(1) != 0
    && !c.?securityContext.?seccompProfile.hasValue() && !c.?securityContext.?procMount.hasValue()
    && !c.?securityContext.?seLinuxOptions.hasValue() && !c.?securityContext.?windowsOptions.hasValue()
    && !c.?securityContext.?appArmorProfile.hasValue())
  message: "containers of the operator's Jobs drop ALL capabilities, forbid privilege escalation and leave the pod's security context as it is"
  reason: Forbidden
{{- end -}}
