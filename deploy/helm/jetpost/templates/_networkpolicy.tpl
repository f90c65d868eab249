{{/* Rules that several policies have. */}}

{{- define "jetpost.policy.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
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
{{- $ports = append $ports (regexFind ":[0-9]+/?$" . | trimAll ":/" | default "4222" | int) -}}
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
    - namespaceSelector:
        matchLabels:
          {{- toYaml . | nindent 10 }}
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
