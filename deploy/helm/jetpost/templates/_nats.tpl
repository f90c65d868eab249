{{/* The nats-servers: those of the chart, or others. */}}

{{- define "jetpost.nats.name" -}}
{{- include "jetpost.name" (dict "root" . "service" "nats") -}}
{{- end }}

{{- define "jetpost.nats.tlsSecret" -}}
{{- $tls := .Values.nats.bundled.tls -}}
{{- $tls.existingSecret | default (include "jetpost.name" (dict "root" . "service" (printf "nats-tls%s" (include "jetpost.issued" $tls.certManager | default (include "jetpost.made" .))))) -}}
{{- end }}

{{- define "jetpost.nats.authSecret" -}}
{{- .Values.nats.bundled.authSecret | default (include "jetpost.name" (dict "root" . "service" (printf "nats-auth%s" (include "jetpost.made" .)))) -}}
{{- end }}

{{/* The names of the nodes within the namespace's DNS, as a JSON list. */}}
{{- define "jetpost.nats.hosts" -}}
{{- $name := include "jetpost.nats.name" . -}}
{{- $hosts := list -}}
{{- range until (int .Values.nats.bundled.replicas) -}}
{{- $hosts = append $hosts (printf "%s-%d.%s.%s.svc" $name . $name $.Release.Namespace) -}}
{{- end -}}
{{- $hosts | toJson -}}
{{- end }}

{{/* What the certificate of the nodes is for, as a JSON list. */}}
{{- define "jetpost.nats.certificateNames" -}}
{{- $service := printf "%s.%s.svc" (include "jetpost.nats.name" .) .Release.Namespace -}}
{{- list (printf "*.%s" $service) $service "localhost" | toJson -}}
{{- end }}

{{/* The section `nats` of the configuration, as JSON. */}}
{{- define "jetpost.nats.section" -}}
{{- $nats := dict -}}
{{- if .Values.nats.bundled.enabled -}}
{{- $servers := list -}}{{- $monitoring := list -}}
{{- range include "jetpost.nats.hosts" . | fromJsonArray -}}
{{- $servers = append $servers (printf "tls://%s:4222" .) -}}
{{- $monitoring = append $monitoring (printf "https://%s:8222" .) -}}
{{- end -}}
{{- $nats = dict "servers" $servers "monitoring" $monitoring "ca_file" "/etc/jetpost/nats/ca.crt" -}}
{{- else -}}
{{- $nats = dict "servers" .Values.nats.servers "monitoring" .Values.nats.monitoring -}}
{{- if .Values.nats.caSecret }}{{ $_ := set $nats "ca_file" "/etc/jetpost/nats/ca.crt" }}{{ end -}}
{{- if .Values.nats.credentialsSecret }}{{ $_ := set $nats "credentials_file" "/etc/jetpost/nats/nats.creds" }}{{ end -}}
{{- if .Values.nats.certificateSecret -}}
{{- $_ := set $nats "certificate_file" "/etc/jetpost/nats/tls.crt" -}}
{{- $_ := set $nats "key_file" "/etc/jetpost/nats/tls.key" -}}
{{- end -}}
{{- end -}}
{{- $nats | toJson -}}
{{- end }}

{{/* The grace period of a server that a probe ends: it does not serve, so nothing is gained by waiting for it. */}}
{{- define "jetpost.nats.restartSeconds" -}}
terminationGracePeriodSeconds: {{ add .Values.nats.bundled.lameDuckSeconds 30 }}
{{- end }}

{{/* How many servers keep each entry: all of the chart's, so that five survive the loss of two. */}}
{{- define "jetpost.nats.replicas" -}}
{{- if .Values.nats.bundled.enabled }}{{ .Values.nats.bundled.replicas }}{{ else }}3{{ end -}}
{{- end }}

{{/* How many nats-servers of this release run; 0 when there are none, or when the renderer cannot look into the cluster. */}}
{{- define "jetpost.nats.running" -}}
{{- dig "spec" "replicas" 0 (lookup "apps/v1" "StatefulSet" .Release.Namespace (include "jetpost.nats.name" .) | default dict) | int -}}
{{- end }}

{{/* Secrets that others keep and the pods read at their start, as a JSON list. */}}
{{- define "jetpost.nats.namedSecrets" -}}
{{- $nats := .Values.nats -}}
{{- if $nats.bundled.enabled -}}
{{- list $nats.bundled.authSecret $nats.bundled.tls.existingSecret | compact | toJson -}}
{{- else -}}
{{- list $nats.existingSecret $nats.caSecret $nats.credentialsSecret $nats.certificateSecret | compact | toJson -}}
{{- end -}}
{{- end }}

{{/* The Secret with user and password, or nothing. */}}
{{- define "jetpost.nats.login" -}}
{{- if .Values.nats.bundled.enabled }}{{ include "jetpost.nats.authSecret" . }}{{ else }}{{ .Values.nats.existingSecret }}{{ end -}}
{{- end }}

{{/* The files that /etc/jetpost/nats has, as the sources of a projected volume; none: no volume. */}}
{{- define "jetpost.nats.files" -}}
{{- if .Values.nats.bundled.enabled }}
- secret:
    name: {{ include "jetpost.nats.tlsSecret" . }}
    items: [{key: ca.crt, path: ca.crt}]
{{- else }}
{{- with .Values.nats.caSecret }}
- secret:
    name: {{ . }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- with .Values.nats.credentialsSecret }}
- secret:
    name: {{ . }}
    items: [{key: nats.creds, path: nats.creds}]
{{- end }}
{{- with .Values.nats.certificateSecret }}
- secret:
    name: {{ . }}
    items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- end }}
{{- end }}

{{/* A size such as 20Gi (Kubernetes: a G is 10^9) or 18GB (nats-server: a GB is 2^30), in bytes. */}}
{{- define "jetpost.nats.bytes" -}}
{{- $units := dict "M" 1000000 "G" 1000000000 "T" 1000000000000 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "MB" 1048576 "GB" 1073741824 "TB" 1099511627776 -}}
{{- mul (regexFind "^[0-9]+" . | int64) (get $units (regexFind "[A-Za-z]+$" .) | int64) -}}
{{- end }}

{{/*
How much JetStream may store, in bytes. It counts messages alone: the file system, Raft logs, blocks that wait for
compaction and state files need a tenth and 128 MiB beside them.
*/}}
{{- define "jetpost.nats.maxFileStore" -}}
{{- $storage := .Values.nats.bundled.storage -}}
{{- $volume := include "jetpost.nats.bytes" $storage.size | int64 -}}
{{- with $storage.maxFileStore -}}
{{- $most := div (mul $volume 95) 100 -}}
{{- if gt (include "jetpost.nats.bytes" . | int64) $most -}}
{{- fail (printf "nats.bundled.storage.maxFileStore: %s do not fit on a volume of %s with its file system: leave it empty, or give less than %d MB" . $storage.size (div $most 1048576)) -}}
{{- end -}}
{{- include "jetpost.nats.bytes" . -}}
{{- else -}}
{{- max (div $volume 2) (sub (div (mul $volume 9) 10) 134217728) -}}
{{- end -}}
{{- end }}

{{/* nats.conf of the bundled nodes. What is secret comes from the environment. */}}
{{- define "jetpost.nats.conf" -}}
server_name: $POD_NAME
listen: "0.0.0.0:4222"
https: "0.0.0.0:8222"
pid_file: "/run/nats/nats.pid"
max_payload: 8MB
max_pending: 256MB
lame_duck_grace_period: "5s"
lame_duck_duration: "{{ .Values.nats.bundled.lameDuckSeconds }}s"
tls {
  cert_file: "/etc/nats/tls/tls.crt"
  key_file: "/etc/nats/tls/tls.key"
  timeout: 10
}
authorization { user: $NATS_USER, password: $NATS_PASSWORD }
jetstream {
  store_dir: "/data"
  max_file_store: {{ include "jetpost.nats.maxFileStore" . }}
  max_memory_store: 64MB
  sync_interval: always  # a message is acknowledged after fsync
  limits { batch { max_inflight_per_stream: 500, max_inflight_total: 5000 } }
}
{{- if gt (int .Values.nats.bundled.replicas) 1 }}
cluster {
  name: {{ include "jetpost.nats.name" . | quote }}
  listen: "0.0.0.0:6222"
  no_advertise: true  # clients know the nodes by the names in their certificates
  authorization { user: route, password: $NATS_ROUTE_PASSWORD, timeout: 10 }
  tls {
    cert_file: "/etc/nats/tls/tls.crt"
    key_file: "/etc/nats/tls/tls.key"
    ca_file: "/etc/nats/tls/ca.crt"
    verify: true
    timeout: 10
  }
  routes: [
    {{- range until (int .Values.nats.bundled.replicas) }}
    $NATS_ROUTE_{{ . }}
    {{- end }}
  ]
}
{{- end }}
{{- with .Values.nats.bundled.extraConfig }}
{{ . }}
{{- end }}
{{- end }}
