{{/* The Deployment of a service, and what surrounds it. */}}
{{- define "jetpost.deployment" -}}
{{- $replicas := include "jetpost.replicas" . -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "jetpost.metadata" . | nindent 2 }}
spec:
  {{- with $replicas }}
  replicas: {{ . }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "jetpost.selector" . | nindent 6 }}
  strategy:
    # The new one first: clients never find fewer.
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    {{- include "jetpost.pod" . | nindent 4 }}
{{- end }}

{{/*
How many pods, or nothing. Where somebody else decides it, the number that is there now: were it left out, Kubernetes would
take 1 at the moment that the values stop naming it.
*/}}
{{- define "jetpost.replicas" -}}
{{- $values := index .root.Values .service -}}
{{- $scaled := or (dig "hpa" "enabled" false $values) (dig "keda" "enabled" false $values) -}}
{{- if or $scaled (kindIs "invalid" $values.replicas) -}}
{{- dig "spec" "replicas" "" (lookup "apps/v1" "Deployment" .root.Release.Namespace (include "jetpost.name" .) | default dict) -}}
{{- else -}}
{{- $values.replicas -}}
{{- end -}}
{{- end }}

{{- define "jetpost.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "jetpost.metadata" . | nindent 2 }}
# No pod of Jetpost speaks with Kubernetes.
automountServiceAccountToken: false
{{- end }}

{{- define "jetpost.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "jetpost.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  selector:
    matchLabels:
      {{- include "jetpost.selector" . | nindent 6 }}
  # A pod that is not ready does no work that an eviction could interrupt.
  unhealthyPodEvictionPolicy: {{ .unhealthy | default "AlwaysAllow" }}
{{- end }}

{{- define "jetpost.horizontalPodAutoscaler" -}}
{{- $hpa := (index .root.Values .service).hpa -}}
{{- if $hpa.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "jetpost.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "jetpost.name" . }}
  minReplicas: {{ $hpa.minReplicas }}
  maxReplicas: {{ $hpa.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $hpa.targetCPU }}}
  behavior:
    {{- include "jetpost.scalingBehavior" . | nindent 4 }}
{{- end }}
{{- end }}

{{/* Mail comes in waves: up at once, down when the wave is surely over. */}}
{{- define "jetpost.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies: [{type: Percent, value: 100, periodSeconds: 30}, {type: Pods, value: 4, periodSeconds: 30}]
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: 600
  policies: [{type: Pods, value: 1, periodSeconds: 120}]
{{- end }}
