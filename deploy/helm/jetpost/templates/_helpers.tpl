{{/* What repeats. Each takes `(dict "root" $ "service" "ingress")` where it needs to know the service. */}}

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

{{/* The listeners of the ingress, as a JSON list. */}}
{{- define "jetpost.listeners" -}}
{{- ((.Values.config.ingress | default dict).listeners | default list) | toJson -}}
{{- end }}

{{/* A port has a name of at most 15 characters. */}}
{{- define "jetpost.portName" -}}
{{- . | trunc 15 | trimSuffix "-" -}}
{{- end }}

{{/* The configuration file: the chart's own values over those of `config`. */}}
{{- define "jetpost.config" -}}
{{- $hostname := required "hostname: the public name of this system is required" .Values.hostname -}}
{{- $servers := required "nats.servers: name the NATS servers that keep the queue" (.Values.nats.servers | default nil) -}}
{{- $nats := dict "servers" $servers "monitoring" .Values.nats.monitoring -}}
{{- if .Values.nats.caSecret }}{{ $_ := set $nats "ca_file" "/etc/jetpost/nats/ca.crt" }}{{ end -}}
{{- $ingress := dict "drain_s" .Values.ingress.drainSeconds -}}
{{- if .Values.ingress.tlsSecret -}}
{{- $_ := set $ingress "tls" (dict "certificate" "/etc/jetpost/tls/tls.crt" "key" "/etc/jetpost/tls/tls.key") -}}
{{- end -}}
{{- $usual := dict "log" (dict "format" "json") -}}
{{- if .Values.ingress.usersSecret -}}
{{- $users := dict "kind" "users_file" "path" "/etc/jetpost/users/users" -}}
{{- $_ := set $usual "ingress" (dict "auth" (dict "backends" (list $users))) -}}
{{- end -}}
{{- $own := dict
  "hostname" $hostname
  "nats" $nats
  "http" (dict "host" "0.0.0.0" "port" 8080)
  "ingress" $ingress
  "delivery" (dict "drain_s" .Values.delivery.drainSeconds)
  "bouncer" (dict "drain_s" .Values.bouncer.drainSeconds)
-}}
{{- mergeOverwrite $usual (deepCopy .Values.config) $own | toYaml -}}
{{- end }}

{{/* What the ingress cannot do without: better said here than by a pod that does not start. */}}
{{- define "jetpost.check" -}}
{{- range include "jetpost.listeners" . | fromJsonArray -}}
{{- if and (ne (.tls | default "none") "none") (not $.Values.ingress.tlsSecret) -}}
{{- fail (printf "ingress.tlsSecret: listener %s offers TLS and needs a certificate" .name) -}}
{{- end -}}
{{- if and .require_auth (not $.Values.ingress.usersSecret) (not (dig "ingress" "auth" "backends" nil $.Values.config)) -}}
{{- fail (printf "ingress.usersSecret: listener %s asks for AUTH and needs users" .name) -}}
{{- end -}}
{{- end -}}
{{- range $listener, $_ := .Values.ingress.service.ports -}}
{{- $names := list -}}
{{- range include "jetpost.listeners" $ | fromJsonArray }}{{ $names = append $names .name }}{{ end -}}
{{- if not (has $listener $names) -}}
{{- fail (printf "ingress.service.ports: there is no listener %s in config.ingress.listeners" $listener) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The pod of a service. */}}
{{- define "jetpost.pod" -}}
{{- $values := index .root.Values .service -}}
metadata:
  labels:
    {{- include "jetpost.labels" . | nindent 4 }}
  annotations:
    # A changed configuration is a new pod.
    checksum/config: {{ include "jetpost.config" .root | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  # The drain, and time to start and end around it.
  terminationGracePeriodSeconds: {{ add $values.drainSeconds 15 }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: {{ .service }}
      image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [python, -m, {{ .service }}, --config, /etc/jetpost/jetpost.yaml]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- if or .root.Values.nats.existingSecret .root.Values.env }}
      env:
        {{- with .root.Values.nats.existingSecret }}
        - name: JETPOST_NATS__USER
          valueFrom:
            secretKeyRef: {name: {{ . }}, key: user}
        - name: JETPOST_NATS__PASSWORD
          valueFrom:
            secretKeyRef: {name: {{ . }}, key: password}
        {{- end }}
        {{- with .root.Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8080
        {{- if eq .service "ingress" }}
        {{- range include "jetpost.listeners" .root | fromJsonArray }}
        - name: {{ include "jetpost.portName" .name }}
          containerPort: {{ .port }}
        {{- end }}
        {{- end }}
      startupProbe:
        # NATS may take a while to recover a large queue; the process waits for it, alive and not ready.
        httpGet: {path: /livez, port: http}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 3
        timeoutSeconds: 3
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/jetpost/jetpost.yaml
          subPath: jetpost.yaml
          readOnly: true
        {{- if .root.Values.nats.caSecret }}
        - name: nats-ca
          mountPath: /etc/jetpost/nats
          readOnly: true
        {{- end }}
        {{- if eq .service "ingress" }}
        {{- if $values.tlsSecret }}
        - name: tls
          mountPath: /etc/jetpost/tls
          readOnly: true
        {{- end }}
        {{- if $values.usersSecret }}
        - name: users
          mountPath: /etc/jetpost/users
          readOnly: true
        {{- end }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "jetpost.name" (dict "root" .root "service" "config") }}
    {{- with .root.Values.nats.caSecret }}
    - name: nats-ca
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- if eq .service "ingress" }}
    {{- with $values.tlsSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with $values.usersSecret }}
    - name: users
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* The Deployment of a service. */}}
{{- define "jetpost.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "jetpost.name" . }}
  labels:
    {{- include "jetpost.labels" . | nindent 4 }}
spec:
  replicas: {{ (index .root.Values .service).replicas }}
  selector:
    matchLabels:
      {{- include "jetpost.selector" . | nindent 6 }}
  template:
    {{- include "jetpost.pod" . | nindent 4 }}
{{- end }}
