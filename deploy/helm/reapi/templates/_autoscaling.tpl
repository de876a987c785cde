{{/*
KEDA's scaling of {root, component, pool, name, settings}. Actions that ask for a pool without
workers wait, and are counted by the active scheduler alone. While that is away there is no value,
which must not be taken for an empty queue.
*/}}
{{- define "reapi.scaledObject" -}}
{{- $values := .settings.autoscaling -}}
{{- $labels := default (printf "namespace=%q" .root.Release.Namespace) $values.metricLabels -}}
{{- $matchers := $labels -}}
{{- with $values.platformPattern }}{{ $matchers = printf "%s,platform=~%q" $labels . }}{{ end -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  labels:
    {{- include "reapi.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: StatefulSet
    name: {{ .name }}
  minReplicaCount: {{ $values.minReplicas }}
  maxReplicaCount: {{ $values.maxReplicas }}
  pollingInterval: {{ $values.pollingSeconds }}
  cooldownPeriod: {{ $values.cooldownSeconds }}
  triggers:
    - type: prometheus
      metadata:
        serverAddress: {{ $values.prometheusAddress }}
        # There are no queues while nothing waits and nothing runs.
        query: >-
          (sum(reapi_scheduler_queued_actions{ {{- $matchers -}} })
          + sum(reapi_scheduler_executing_actions{ {{- $matchers -}} }))
          or (0 * sum(reapi_scheduler_slots{ {{- $labels -}} }))
        # So many actions are worth one executor.
        threshold: {{ .settings.slots | quote }}
        ignoreNullValues: "false"
{{- end -}}
