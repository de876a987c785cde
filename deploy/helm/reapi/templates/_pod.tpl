{{/*
The template of a pod, of
  root, component, pool  as for the labels
  name                   of the ConfigMap
  made                   see _configuration.tpl
  roles                  of `reapi-server serve`
  settings               its part of the values
  grpcPort               if it serves gRPC
  graceSeconds           from SIGTERM to SIGKILL, preStop included
  dataVolume             a source of volumes, unless there is a claim of the name `data`
*/}}
{{- define "reapi.podTemplate" -}}
{{- $values := .root.Values -}}
{{- $settings := .settings -}}
{{- $isolated := and (eq .component "executor") $settings.userNamespaces -}}
{{- $image := default dict $settings.image -}}
metadata:
  labels:
    {{- include "reapi.selector" . | nindent 4 }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # A pod reads its configuration once, so a change makes new ones.
    reapi/configuration: {{ toJson .made.config | sha256sum }}
    {{- with $values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "reapi.serviceAccountName" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .graceSeconds }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $settings.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if $isolated }}
  hostUsers: false
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: reapi
      image: "{{ default $values.image.repository $image.repository }}:{{ default (default .root.Chart.AppVersion $values.image.tag) $image.tag }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - serve
        - --config
        - /etc/reapi/config/config.toml
        {{- range .roles }}
        - --role
        - {{ . }}
        {{- end }}
      {{- if eq .component "executor" }}
      env:
        # Its number at the end is the executor's ordinal.
        - name: REAPI_EXECUTOR__WORKER_ID
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
      {{- end }}
      ports:
        {{- with .grpcPort }}
        - name: grpc
          containerPort: {{ . }}
        {{- end }}
        - name: http
          containerPort: 8080
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- with $settings.preStopSeconds }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ . | quote }}]
      {{- end }}
      resources:
        {{- toYaml $settings.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
        {{- if $isolated }}
        procMount: Unmasked
        seccompProfile:
          type: Unconfined
        appArmorProfile:
          type: Unconfined
        {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/reapi/config
          readOnly: true
        {{- range $folder, $_ := .made.secrets }}
        - name: {{ $folder }}
          mountPath: /etc/reapi/{{ $folder }}
          readOnly: true
        {{- end }}
        - name: data
          mountPath: /var/lib/reapi
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: config
      configMap:
        name: {{ .name }}
    {{- range $folder, $secret := .made.secrets }}
    - name: {{ $folder }}
      secret:
        secretName: {{ $secret.name }}
        defaultMode: 0440
        items:
          {{- range $secret.keys }}
          - key: {{ . }}
            path: {{ . }}
          {{- end }}
    {{- end }}
    {{- with .dataVolume }}
    - name: data
      {{- toYaml . | nindent 6 }}
    {{- end }}
    - name: tmp
      emptyDir: {}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "reapi.selector" . | nindent 10 }}
  {{- with $settings.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $settings.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $settings.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Of {root, component, pool, name, maxUnavailable}. */}}
{{- define "reapi.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "reapi.selector" . | nindent 4 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  selector:
    matchLabels:
      {{- include "reapi.selector" . | nindent 6 }}
{{- end -}}

{{/* A claim of the name `data`, of {persistence}. */}}
{{- define "reapi.dataClaim" -}}
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .size }}
{{- end -}}
