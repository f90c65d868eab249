{{/* Names and labels. Each takes `(dict "root" $ "service" "ingress")` where it needs to know the service. */}}

{{- define "jetpost.name" -}}
{{- printf "%s-%s" .root.Release.Name .service | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "jetpost.selector" -}}
app.kubernetes.io/name: jetpost
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "jetpost.labels" -}}
{{ include "jetpost.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The metadata of an object; `suffix` tells it from others of the service. */}}
{{- define "jetpost.metadata" -}}
name: {{ include "jetpost.name" (dict "root" .root "service" (printf "%s%s" .service (.suffix | default ""))) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "jetpost.labels" . | nindent 2 }}
{{- end }}

{{- define "jetpost.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* A port has a name of at most 15 characters. */}}
{{- define "jetpost.portName" -}}
{{- . | trunc 15 | trimSuffix "-" -}}
{{- end }}

{{/* Where the test pod takes mail: a name that only the cluster's DNS knows. */}}
{{- define "jetpost.testDomain" -}}
{{- printf "%s.%s.svc.%s" (include "jetpost.name" (dict "root" . "service" "test")) .Release.Namespace .Values.clusterDomain -}}
{{- end }}

{{/* What every pod of the chart is allowed: nothing (Pod Security: restricted). */}}
{{- define "jetpost.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "jetpost.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
