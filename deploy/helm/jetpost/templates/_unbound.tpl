{{/* A validating resolver beside each delivery process. */}}
{{- define "jetpost.unbound.conf" -}}
server:
  interface: 127.0.0.1
  port: 5353
  access-control: 127.0.0.0/8 allow
  username: ""
  chroot: ""
  directory: "/etc/unbound"
  pidfile: ""
  use-syslog: no
  logfile: ""
  module-config: "validator iterator"
  # The root's key-signing keys (IANA, 2017 and 2024).
  trust-anchor: ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
  trust-anchor: ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16"
  num-threads: 1
  msg-cache-size: 32m
  rrset-cache-size: 64m
  prefetch: yes
  qname-minimisation: yes
  hide-identity: yes
  hide-version: yes
{{- range $zone, $_ := .Values.delivery.unbound.forward }}
  domain-insecure: {{ $zone | quote }}
  local-zone: {{ printf "%s." (trimSuffix "." $zone) | quote }} transparent
{{- end }}
# A socket in the pod, for the probes.
remote-control:
  control-enable: yes
  control-use-cert: no
  control-interface: "/run/unbound/control"
{{- range $zone, $addresses := .Values.delivery.unbound.forward }}
forward-zone:
  name: {{ $zone | quote }}
  {{- range $addresses }}
  forward-addr: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "jetpost.unbound.container" -}}
- name: unbound
  restartPolicy: Always
  image: {{ .Values.delivery.unbound.image | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [unbound, -d, -p, -c, /etc/unbound/unbound.conf]
  securityContext:
    {{- include "jetpost.containerSecurity" . | nindent 4 }}
  {{- range $probe, $periods := dict "startupProbe" (dict "periodSeconds" 1 "failureThreshold" 60) "livenessProbe" (dict "periodSeconds" 10 "failureThreshold" 3) }}
  {{ $probe }}:
    # Its loop answers, not only its port.
    exec: {command: [unbound-control, -c, /etc/unbound/unbound.conf, status]}
    timeoutSeconds: 5
    {{- toYaml $periods | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .Values.delivery.unbound.resources | nindent 4 }}
  volumeMounts:
    - {name: unbound, mountPath: /etc/unbound, readOnly: true}
    - {name: unbound-run, mountPath: /run/unbound}
{{- end }}
