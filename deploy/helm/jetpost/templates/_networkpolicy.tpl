{{/* Rules that several policies have. */}}

{{/* To name servers: wherever they are, on the ports of the cluster's and on those that the configuration names. */}}
{{- define "jetpost.policy.dns" -}}
{{- $ports := .Values.networkPolicy.dnsPorts -}}
{{- range dig "dns" "nameservers" list .Values.config -}}
{{- with regexFind "^([^:]+|\\[.*\\]):[0-9]+$" . -}}
{{- $ports = append $ports (splitList ":" . | last) -}}
{{- end -}}
{{- end -}}
- ports:
    {{- range $port := $ports | uniq }}
    {{- range list "UDP" "TCP" }}
    - {port: {{ int $port }}, protocol: {{ . }}}
    {{- end }}
    {{- end }}
{{- end }}

{{/* The port of a URL, as NATS and HTTP have it. */}}
{{- define "jetpost.policy.portOf" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (get (dict "http" "80" "https" "443") $url.scheme | default "4222") -}}
{{- end }}

{{/* To the nats-servers: our own pods, or whatever has the ports of the URLs. */}}
{{- define "jetpost.policy.nats" -}}
{{- if .Values.nats.bundled.enabled -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "jetpost.selector" (dict "root" . "service" "nats") | nindent 10 }}
  ports:
    - {port: 4222, protocol: TCP}
    - {port: 8222, protocol: TCP}
{{- else -}}
{{- $ports := list -}}
{{- range concat .Values.nats.servers .Values.nats.monitoring -}}
{{- $ports = append $ports (include "jetpost.policy.portOf" . | int) -}}
{{- end -}}
- ports:
    {{- range $ports | uniq }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end }}

{{- define "jetpost.policy.metrics" -}}
- ports:
    - {port: {{ .port }}, protocol: TCP}
  {{- with .root.Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "jetpost.policy.networks" -}}
{{- range . }}
- ipBlock: {cidr: {{ . }}}
{{- end }}
{{- end }}

{{- define "jetpost.policy.head" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "jetpost.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "jetpost.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}
