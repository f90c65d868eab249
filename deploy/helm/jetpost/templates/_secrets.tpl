{{/* Secrets that the values do not name: who makes them, and whether that can be. */}}

{{/* What the Job makes has a name of its own: Helm would delete what is not in the manifest any more. */}}
{{- define "jetpost.made" -}}
{{- if eq .Values.secrets.create "job" }}-made{{ end -}}
{{- end }}

{{/* The same for a certificate of the hostname: another name is another certificate. */}}
{{- define "jetpost.madeFor" -}}
{{- with include "jetpost.made" . }}{{ . }}-{{ $.Values.hostname | sha256sum | trunc 6 }}{{ end -}}
{{- end }}

{{/*
Nothing, in a cluster. A renderer without one sees no Secret, draws others each time, and whoever applies that takes NATS
down. Every namespace has the ConfigMap; a namespace that is to be made has none yet, and who makes it may read another one.
*/}}
{{- define "jetpost.inCluster" -}}
{{- if not (or (lookup "v1" "ConfigMap" .root.Release.Namespace "kube-root-ca.crt") (lookup "v1" "Namespace" "" "kube-system")) -}}
{{- fail (printf "%s: rendering without access to the cluster (helm template, Argo CD, --dry-run=client) would create new passwords and certificates each time. Set secrets.create=job, or set an existing Secret; with helm, use --dry-run=server" .value) -}}
{{- end -}}
{{- end }}

{{/* The arguments of the Job that makes Secrets, as a JSON list; empty: there is no Job. */}}
{{- define "jetpost.provisioned" -}}
{{- $arguments := list -}}
{{- if eq .Values.secrets.create "job" -}}
{{- $bundled := .Values.nats.bundled -}}
{{- if and $bundled.enabled (not $bundled.authSecret) -}}
{{- $arguments = append $arguments (printf "--login=%s" (include "jetpost.nats.authSecret" .)) -}}
{{- end -}}
{{- if and $bundled.enabled (not $bundled.tls.existingSecret) (not $bundled.tls.certManager) -}}
{{- $arguments = append $arguments (printf "--nats-tls=%s" (include "jetpost.nats.tlsSecret" .)) -}}
{{- range include "jetpost.nats.certificateNames" . | fromJsonArray -}}
{{- $arguments = append $arguments (printf "--dns-name=%s" .) -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.ingress.tls.existingSecret .Values.ingress.tls.certManager.enabled) -}}
{{- $arguments = concat $arguments (list (printf "--ingress-tls=%s" (include "jetpost.tlsSecret" .)) (printf "--hostname=%s" .Values.hostname)) -}}
{{- end -}}
{{- end -}}
{{- range include "jetpost.dkim.made" . | fromJsonArray -}}
{{- $arguments = append $arguments (printf "--dkim=%s,%s,%s,%s,%s" .secret .domain .selector .kind (.replaces | join "+")) -}}
{{- end -}}
{{- $arguments | toJson -}}
{{- end }}

{{/* The keys of dkim.create, as a JSON list: with their Secrets, and the selectors of the keys that each replaces. */}}
{{- define "jetpost.dkim.made" -}}
{{- $made := list -}}
{{- range .Values.dkim.create -}}
{{- $kind := .kind | default "rsa" -}}
{{- $replaces := list -}}
{{- $key := . -}}
{{- range $made -}}
{{- if and (eq .domain $key.domain) (eq .selector $key.selector) -}}
{{- fail (printf "dkim.create: %s of %s is there twice" .selector .domain) -}}
{{- end -}}
{{- if and (eq .domain $key.domain) (eq .kind $kind) }}{{ $replaces = append $replaces .selector }}{{ end -}}
{{- end -}}
{{- $checksum := printf "%s._domainkey.%s" .selector .domain | sha256sum | trunc 8 -}}
{{- $secret := include "jetpost.name" (dict "root" $ "service" (printf "dkim-made-%s" $checksum)) -}}
{{- $made = append $made (dict "secret" $secret "domain" .domain "selector" .selector "kind" $kind "replaces" $replaces) -}}
{{- end -}}
{{- $made | toJson -}}
{{- end }}

{{/* The Secrets with keys that sign, as a JSON list. */}}
{{- define "jetpost.dkim.secrets" -}}
{{- $secrets := .Values.dkim.secrets -}}
{{- range include "jetpost.dkim.made" . | fromJsonArray }}{{ $secrets = append $secrets .secret }}{{ end -}}
{{- $secrets | toJson -}}
{{- end }}

{{/* What NOTES say about records: those of keys that are there already, and how to see the others. */}}
{{- define "jetpost.dkim.notes" -}}
{{- $unknown := false -}}
{{- range include "jetpost.dkim.made" . | fromJsonArray -}}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace .secret -}}
{{- with index ($secret.data | default dict) (printf "%s._domainkey.%s.txt" .selector .domain) }}
  {{ . | b64dec | trim }}
{{- else }}{{ $unknown = true }}{{ end -}}
{{- end -}}
{{- if $unknown }}
  kubectl -n {{ .Release.Namespace }} exec deployment/{{ include "jetpost.name" (dict "root" . "service" "ingress") }} -c ingress -- jetpost dkim show   # when it runs
{{- end -}}
{{- end }}

{{/* The pod of that Job. */}}
{{- define "jetpost.provision.pod" -}}
restartPolicy: OnFailure
serviceAccountName: {{ include "jetpost.name" (dict "root" . "service" "secrets") }}
enableServiceLinks: false
{{- range $rule := list "imagePullSecrets" "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $rule }}
{{ $rule }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
securityContext:
  {{- include "jetpost.podSecurity" . | nindent 2 }}
containers:
  - name: secrets
    image: {{ include "jetpost.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [python, -m, jetpost.provision]
    args:
      {{- include "jetpost.provisioned" . | fromJsonArray | toYaml | nindent 6 }}
    securityContext:
      {{- include "jetpost.containerSecurity" . | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {memory: 256Mi}
{{- end }}
