{{/* The pod of a service. */}}
{{- define "jetpost.pod" -}}
{{- $root := .root -}}
{{- $values := index .root.Values .service -}}
{{- $files := include "jetpost.nats.files" .root | trim -}}
{{- $login := include "jetpost.nats.login" .root -}}
{{- $resolver := and (eq .service "delivery") .root.Values.delivery.unbound.enabled -}}
{{- $signs := and (has .service (list "ingress" "bouncer")) (include "jetpost.dkim.secrets" .root | fromJsonArray) }}
metadata:
  labels:
    {{- include "jetpost.podLabels" . | nindent 4 }}
  annotations:
    # A changed configuration is a new pod.
    checksum/config: {{ include "jetpost.config" .root | sha256sum }}
    {{- with include "jetpost.nats.namedSecrets" .root | fromJsonArray }}
    # So is a changed password or CA: NATS is told of them when a connection is made.
    checksum/nats: {{ include "jetpost.secretsChecksum" (dict "root" $root "names" .) }}
    {{- end }}
    {{- if $resolver }}
    checksum/unbound: {{ include "jetpost.unbound.conf" .root | sha256sum }}
    {{- end }}
    {{- with merge (deepCopy $values.podAnnotations) .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  # Both waits, and time to start and end around them.
  terminationGracePeriodSeconds: {{ add $values.preStopSeconds $values.drainSeconds 15 }}
  serviceAccountName: {{ include "jetpost.name" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "jetpost.podSecurity" . | nindent 4 }}
  {{- include "jetpost.spread" . | nindent 2 }}
  {{- if $resolver }}
  # A sidecar: there before the service, and until it has ended.
  initContainers:
    {{- include "jetpost.unbound.container" .root | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .service }}
      image: {{ include "jetpost.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [python, -m, {{ .service }}]
      securityContext:
        {{- include "jetpost.containerSecurity" . | nindent 8 }}
      env:
        {{- include "jetpost.environment" (dict "root" .root "service" .service "login" $login "resolver" $resolver) | nindent 8 }}
      ports:
        - {name: http, containerPort: 8080}
        {{- if eq .service "ingress" }}
        {{- range include "jetpost.listeners" .root | fromJsonArray }}
        - {name: {{ include "jetpost.portName" .name }}, containerPort: {{ .port }}}
        {{- end }}
        {{- end }}
      {{- if $values.preStopSeconds }}
      lifecycle:
        preStop:
          # The image has no shell.
          exec: {command: [python, -c, "import time; time.sleep({{ $values.preStopSeconds }})"]}
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
        - {name: config, mountPath: /etc/jetpost/config, readOnly: true}
        {{- if $files }}
        - {name: nats, mountPath: /etc/jetpost/nats, readOnly: true}
        {{- end }}
        {{- if eq .service "ingress" }}
        - {name: tls, mountPath: /etc/jetpost/tls, readOnly: true}
        - {name: users, mountPath: /etc/jetpost/users, readOnly: true}
        {{- end }}
        {{- if $signs }}
        - {name: dkim, mountPath: /etc/jetpost/dkim, readOnly: true}
        {{- end }}
        {{- if and (eq .service "delivery") $values.credentialsSecret }}
        - {name: credentials, mountPath: /etc/jetpost/credentials, readOnly: true}
        {{- end }}
        {{- with $values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "jetpost.name" (dict "root" .root "service" "config") }}}
    {{- if $files }}
    - name: nats
      projected:
        defaultMode: 0440
        sources:
          {{- $files | nindent 10 }}
    {{- end }}
    {{- if eq .service "ingress" }}
    - name: tls
      secret: {secretName: {{ include "jetpost.tlsSecret" .root }}, defaultMode: 0440}
    - name: users
      secret: {secretName: {{ include "jetpost.usersSecret" .root }}, defaultMode: 0440}
    {{- end }}
    {{- if $signs }}
    - name: dkim
      projected:
        defaultMode: 0440
        sources:
          {{- range $signs }}
          - secret: {name: {{ . }}}
          {{- end }}
    {{- end }}
    {{- if and (eq .service "delivery") $values.credentialsSecret }}
    - name: credentials
      secret: {secretName: {{ $values.credentialsSecret }}, defaultMode: 0440}
    {{- end }}
    {{- if $resolver }}
    - name: unbound
      configMap: {name: {{ include "jetpost.name" (dict "root" .root "service" "unbound") }}}
    - name: unbound-run
      emptyDir: {}
    {{- end }}
    {{- with $values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Environment variables: where the password comes from, and what the values ask for. */}}
{{- define "jetpost.environment" -}}
# For the services and for `kubectl exec … -- jetpost queue`.
- name: JETPOST_CONFIG
  value: /etc/jetpost/config/jetpost.yaml
{{- with .login }}
- name: JETPOST_NATS__USER
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: user}
- name: JETPOST_NATS__PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: password}
{{- end }}
{{- if .resolver }}
- name: JETPOST_DNS__NAMESERVERS
  value: '["127.0.0.1:5353"]'
{{- end }}
{{- with concat .root.Values.env ((index .root.Values .service).env | default list) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a pod runs. */}}
{{- define "jetpost.spread" -}}
{{- $values := index .root.Values .service -}}
{{- if .root.Values.maxSkew }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: {{ $.root.Values.maxSkew }}
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "jetpost.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector | default .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations | default .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity | default .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
