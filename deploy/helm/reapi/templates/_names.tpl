{{/* Names, labels and addresses. */}}

{{- define "reapi.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* With "-executor-POOL" a StatefulSet may have 52: its pods' labels say which of its revisions they are. */ -}}
{{- default $both .Values.fullnameOverride | trunc 26 | trimSuffix "-" -}}
{{- end -}}

{{- define "reapi.serviceAccountName" -}}
{{- $fallback := ternary (include "reapi.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $fallback .Values.serviceAccount.name -}}
{{- end -}}

{{/* Of {root, component, pool}, each of the last two if there is one: what never changes, for selectors. */}}
{{- define "reapi.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
reapi/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "reapi.labels" -}}
{{ include "reapi.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* "true" where frontends and schedulers are pods of their own, else nothing. */}}
{{- define "reapi.isShared" -}}
{{- if and (eq .Values.storage.state.kind "postgresql") (eq .Values.storage.blobs.kind "s3") }}true{{ end -}}
{{- end -}}

{{- define "reapi.scheme" -}}
{{- if .Values.tls.secretName }}grpcs://{{ end -}}
{{- end -}}

{{/* Where the other pods find frontends and schedulers. */}}
{{- define "reapi.frontendEndpoint" -}}
{{ include "reapi.scheme" . }}{{ include "reapi.fullname" . }}:{{ .Values.service.port }}
{{- end -}}

{{- define "reapi.schedulerEndpoint" -}}
{{- if include "reapi.isShared" . -}}
{{ include "reapi.scheme" . }}{{ include "reapi.fullname" . }}-scheduler:8983
{{- else -}}
{{ include "reapi.frontendEndpoint" . }}
{{- end -}}
{{- end -}}
