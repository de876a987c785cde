{{/*
What a pod is told. Each template below adds to `.made`, a dictionary of
  config   the settings, as docs/configuration.md has them
  secrets  by the folder below /etc/reapi: the Secret, and its keys that the pod gets
and prints nothing. reapi.settings.further comes last.
*/}}

{{- define "reapi.settings.common" -}}
{{- $values := .root.Values -}}
{{- $server := dict "http_listen" "0.0.0.0:8080" "drain_seconds" $values.drainSeconds -}}
{{- $_ := set .made "secrets" dict -}}
{{- $_ := set .made "config" (dict "data_dir" "/var/lib/reapi" "server" $server) -}}
{{- end -}}

{{/* Serves gRPC on `.port`. */}}
{{- define "reapi.settings.serving" -}}
{{- $values := .root.Values -}}
{{- $config := .made.config -}}
{{- $_ := set $config.server "listen" (printf "0.0.0.0:%d" (int .port)) -}}
{{- $_ := set $config.server "instance_names" $values.instanceNames -}}
{{- if $values.tls.secretName -}}
{{- $_ := set $config.server "tls_certificate_file" "/etc/reapi/tls/tls.crt" -}}
{{- $_ := set $config.server "tls_key_file" "/etc/reapi/tls/tls.key" -}}
{{- $_ := set .made.secrets "tls" (dict "name" $values.tls.secretName "keys" (list "tls.crt" "tls.key")) -}}
{{- end -}}
{{- with $values.tls.clientCaSecretName -}}
{{- $_ := set $config.server "tls_client_ca_file" "/etc/reapi/client-ca/ca.crt" -}}
{{- $_ := set $.made.secrets "client-ca" (dict "name" . "keys" (list "ca.crt")) -}}
{{- end -}}
{{- if eq $values.auth.mode "tokens" -}}
{{- $auth := dict "mode" "tokens" "tokens_file" "/etc/reapi/tokens/tokens.toml" -}}
{{- with $values.auth.anonymous }}{{ $_ := set $auth "anonymous" . }}{{ end -}}
{{- $_ := set $config "auth" $auth -}}
{{- $_ := set .made.secrets "tokens" (dict "name" $values.auth.tokensSecret "keys" (list "tokens.toml")) -}}
{{- end -}}
{{- end -}}

{{/* Calls other servers of the release. */}}
{{- define "reapi.settings.calling" -}}
{{- $values := .root.Values -}}
{{- $config := .made.config -}}
{{- if eq $values.auth.mode "tokens" -}}
{{- $auth := merge (dict "token_file" "/etc/reapi/token/token") (default dict $config.auth) -}}
{{- $_ := set $config "auth" $auth -}}
{{- $_ := set .made.secrets "token" (dict "name" $values.auth.serverTokenSecret "keys" (list "token")) -}}
{{- end -}}
{{- if $values.tls.secretName -}}
{{- $connections := dict "tls_ca_file" "/etc/reapi/ca/ca.crt" -}}
{{- $authority := default $values.tls.secretName $values.tls.caSecretName -}}
{{- $_ := set .made.secrets "ca" (dict "name" $authority "keys" (list "ca.crt")) -}}
{{- with $values.tls.clientSecretName -}}
{{- $_ := set $connections "tls_client_certificate_file" "/etc/reapi/client/tls.crt" -}}
{{- $_ := set $connections "tls_client_key_file" "/etc/reapi/client/tls.key" -}}
{{- $_ := set $.made.secrets "client" (dict "name" . "keys" (list "tls.crt" "tls.key")) -}}
{{- end -}}
{{- $_ := set $config "connections" $connections -}}
{{- end -}}
{{- end -}}

{{/* Opens database and bucket, or the volume. */}}
{{- define "reapi.settings.storing" -}}
{{- $values := .root.Values.storage -}}
{{- $state := dict "kind" $values.state.kind -}}
{{- $blobs := dict "kind" $values.blobs.kind -}}
{{- if eq $values.state.kind "postgresql" -}}
{{- $_ := set $state "dsn_file" "/etc/reapi/state/dsn" -}}
{{- $_ := set .made.secrets "state" (dict "name" $values.state.existingSecret "keys" (list "dsn")) -}}
{{- end -}}
{{- if eq $values.blobs.kind "s3" -}}
{{- $blobs = dict "kind" "s3" "bucket" $values.blobs.bucket "endpoint" $values.blobs.endpoint "region" $values.blobs.region "key_prefix" $values.blobs.keyPrefix "use_ssl" $values.blobs.useSSL "server_side_encryption" $values.blobs.serverSideEncryption -}}
{{- with $values.blobs.existingSecret -}}
{{- $_ := set $blobs "access_key_id_file" "/etc/reapi/blobs/access_key_id" -}}
{{- $_ := set $blobs "secret_access_key_file" "/etc/reapi/blobs/secret_access_key" -}}
{{- $_ := set $.made.secrets "blobs" (dict "name" . "keys" (list "access_key_id" "secret_access_key")) -}}
{{- end -}}
{{- end -}}
{{- $storage := dict "max_size_bytes" $values.maxSizeBytes "retention_seconds" $values.retentionSeconds "state" $state "blobs" $blobs -}}
{{- $_ := set .made.config "storage" $storage -}}
{{- end -}}

{{/* Decides what runs where: it knows of every pool, so actions for one that is empty wait. */}}
{{- define "reapi.settings.scheduling" -}}
{{- $pools := list -}}
{{- range $name, $pool := (include "reapi.pools" .root | fromJson) -}}
{{- $made := dict -}}
{{- $_ := include "reapi.settings.offered" (dict "pool" $pool "made" $made) -}}
{{- $pools = append $pools $made -}}
{{- end -}}
{{- $scheduler := dict "placement" .root.Values.scheduler.placement "pools" $pools -}}
{{- if eq .root.Values.scheduler.placement "modulo" -}}
{{- $_ := set $scheduler "expected_workers" .root.Values.executors.replicas -}}
{{- end -}}
{{- $_ := set .made.config "scheduler" $scheduler -}}
{{- end -}}

{{/* What each executor of `.pool` offers. */}}
{{- define "reapi.settings.offered" -}}
{{- $resources := dict -}}
{{- with (default dict .pool.resources.requests).cpu }}{{ $_ := set $resources "cpu" (include "reapi.amount" .) }}{{ end -}}
{{- with (default dict .pool.resources.limits).memory }}{{ $_ := set $resources "memory" (include "reapi.amount" .) }}{{ end -}}
{{- range $name, $amount := .pool.offers }}{{ $_ := set $resources $name (include "reapi.amount" $amount) }}{{ end -}}
{{- $_ := set .made "platform" .pool.platform -}}
{{- $_ := set .made "resources" $resources -}}
{{- end -}}

{{/* As text: Kubernetes takes 2 and "2" alike, and a large number must not become 4e+09. */}}
{{- define "reapi.amount" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* Runs actions, as `.settings` of its pool say. */}}
{{- define "reapi.settings.executing" -}}
{{- $executor := dict "slots" .settings.slots "sandbox" .settings.sandbox "storage" .settings.storage "cache_max_size_bytes" .settings.cacheMaxSizeBytes -}}
{{- $_ := include "reapi.settings.offered" (dict "pool" .settings "made" $executor) -}}
{{- if and (eq .settings.storage "frontend") (include "reapi.isShared" .root) -}}
{{- $_ := set $executor "frontend_endpoint" (include "reapi.frontendEndpoint" .root) -}}
{{- end -}}
{{- $_ := set .made.config "executor" $executor -}}
{{- $_ := set .made.config "scheduler" (dict "endpoint" (include "reapi.schedulerEndpoint" .root)) -}}
{{- end -}}

{{/* All executors as {name: what `executors` says and the pool says otherwise}; "" is the first. */}}
{{- define "reapi.pools" -}}
{{- $pools := dict "" .Values.executors -}}
{{- range $name, $pool := .Values.executorPools -}}
{{- $_ := set $pools $name (mustMergeOverwrite (deepCopy $.Values.executors) (deepCopy $pool)) -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* What the values say of `config`; not of the parts that this pod does not have (`.without`). */}}
{{- define "reapi.settings.further" -}}
{{- $further := deepCopy .root.Values.config -}}
{{- range .without }}{{ $_ := unset $further . }}{{ end -}}
{{- $_ := mustMergeOverwrite .made.config $further -}}
{{- $_ := include "reapi.wholeNumbers" .made.config -}}
{{- end -}}

{{/* Numbers of values are floats, which TOML writes as such. */}}
{{- define "reapi.wholeNumbers" -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $_ := include "reapi.wholeNumbers" $value -}}
{{- else if kindIs "slice" $value -}}
{{- range $value }}{{ if kindIs "map" . }}{{ $_ := include "reapi.wholeNumbers" . }}{{ end }}{{ end -}}
{{- else if kindIs "float64" $value -}}
{{- if eq $value (floor $value) }}{{ $_ := set $ $key (int64 $value) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMap of `.name` with what was made. */}}
{{- define "reapi.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  labels:
    {{- include "reapi.labels" . | nindent 4 }}
data:
  config.toml: |
    {{- toToml .made.config | trim | nindent 4 }}
{{- end -}}
