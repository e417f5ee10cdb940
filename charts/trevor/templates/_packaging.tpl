{{/*
The Job that makes a package. No token, no API server; of Secrets only its storage
identities. One pod and no second: a package's key is written once, and what fails is
followed by another attempt with another key.
*/}}
{{- define "trevor.packagingJob" -}}
{{- if include "trevor.packsByJobs" . -}}
{{- $ := . -}}
{{- with .Values.workloads.packaging -}}
apiVersion: batch/v1
kind: Job
metadata:
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "trevor.selector" (list $ "packaging") | nindent 4 }}
    app.kubernetes.io/managed-by: trevor
spec:
  backoffLimit: 0
  completions: 1
  parallelism: 1
  podReplacementPolicy: Failed
  activeDeadlineSeconds: {{ .deadline_seconds }}
  ttlSecondsAfterFinished: {{ .ttl_seconds }}
  template:
    metadata:
      labels:
        {{- with .podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- include "trevor.selector" (list $ "packaging") | nindent 8 }}
      {{- with .podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "trevor.podBasics" (list $ "packaging") | nindent 6 }}
      restartPolicy: Never
      terminationGracePeriodSeconds: 20
      {{- include "trevor.placement" (list $ "packaging" .) | nindent 6 }}
      containers:
      - name: trevor
        image: {{ include "trevor.image" $ }}
        imagePullPolicy: {{ $.Values.image.pullPolicy }}
        args: [package, --config, /etc/trevor/config/config.yaml]
        {{- $env := printf "%s\n%s" (include "trevor.trustEnv" $) (include "trevor.packagingEnv" $) | trim }}
        {{- if or $env .extraEnv }}
        env:
        {{- with $env }}{{ . | nindent 8 }}{{ end }}
        {{- with .extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- end }}
        resources: {{- toYaml .resources | nindent 10 }}
        securityContext: {{- include "trevor.containerSecurity" $ | nindent 10 }}
        terminationMessagePolicy: FallbackToLogsOnError
        volumeMounts:
        - {name: config, mountPath: /etc/trevor/config, readOnly: true}
        {{- if include "trevor.trusts" $ }}
        - {name: trust, mountPath: /etc/trevor/trust, readOnly: true}
        {{- end }}
        - {name: spool, mountPath: {{ $.Values.controller.packaging.spool_dir }}}
      volumes:
      - name: config
        configMap: {name: {{ include "trevor.name" $ }}-config, items: [{key: config.yaml, path: config.yaml}]}
      {{- include "trevor.trustVolume" $ | nindent 6 }}
      - name: spool
        emptyDir: {sizeLimit: {{ .spool_size_limit }}}
{{- end -}}
{{- end -}}
{{- end -}}
