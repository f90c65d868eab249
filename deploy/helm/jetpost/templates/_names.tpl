{{/* Names and labels. Each takes `(dict "root" $ "service" "ingress")` where it needs to know the service. */}}

{{/*
RELEASE-SERVICE, in 52 characters: a StatefulSet's name is in labels of its pods, with eleven characters behind it. The
release's part is what is cut, and a checksum keeps two long ones apart: the end of the name is what tells objects apart.
*/}}
{{- define "jetpost.name" -}}
{{- $release := .root.Release.Name -}}
{{- $room := sub 51 (len .service) | int -}}
{{- if gt (len $release) $room -}}
{{- $release = printf "%s-%s" ($release | trunc (sub $room 7 | int) | trimSuffix "-") ($release | sha256sum | trunc 6) -}}
{{- end -}}
{{- printf "%s-%s" $release .service -}}
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

{{/* Labels of pods. No version of the chart: a new one alone is no reason to replace them. */}}
{{- define "jetpost.podLabels" -}}
{{ include "jetpost.selector" . }}
{{- with .root.Values.podLabels }}
{{ toYaml . }}
{{- end }}
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

{{/* What the Secrets of these `names` hold now, as one checksum. A renderer that cannot look into the cluster sees nothing. */}}
{{- define "jetpost.secretsChecksum" -}}
{{- $seen := dict -}}
{{- range .names -}}
{{- $_ := set $seen . ((lookup "v1" "Secret" $.root.Release.Namespace .).data | default dict) -}}
{{- end -}}
{{- $seen | toJson | sha256sum -}}
{{- end }}
