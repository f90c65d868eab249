{{/* The listeners as configured, with the networks of load balancers, and the one for `helm test`; as a JSON list. */}}
{{- define "jetpost.listeners" -}}
{{- $service := .Values.ingress.service -}}
{{- $listeners := list -}}
{{- range ((.Values.config.ingress | default dict).listeners | default list) -}}
{{- $listener := deepCopy . -}}
{{- if and $service.proxyProtocolFrom (hasKey $service.ports .name) (not (hasKey . "proxy_protocol_from")) -}}
{{- $_ := set $listener "proxy_protocol_from" $service.proxyProtocolFrom -}}
{{- end -}}
{{- $listeners = append $listeners $listener -}}
{{- end -}}
{{- if .Values.test.enabled -}}
{{- $domains := list (include "jetpost.testDomain" .) -}}
{{- $listeners = append $listeners (dict "name" "helm-test" "host" "0.0.0.0" "port" 2526 "domains" $domains "tls" "starttls" "require_tls" true "submission" true) -}}
{{- end -}}
{{- $listeners | toJson -}}
{{- end }}

{{- define "jetpost.usersSecret" -}}
{{- .Values.ingress.usersSecret | default (include "jetpost.name" (dict "root" . "service" "users")) -}}
{{- end }}

{{- define "jetpost.tlsSecret" -}}
{{- $tls := .Values.ingress.tls -}}
{{- $tls.existingSecret | default (include "jetpost.name" (dict "root" . "service" (printf "ingress-tls%s" (include "jetpost.issued" $tls.certManager.enabled | default (include "jetpost.madeFor" .))))) -}}
{{- end }}

{{/* What cert-manager makes has a name of its own: Helm and it would take the Secret from each other. */}}
{{- define "jetpost.issued" -}}
{{- if . }}-issued{{ end -}}
{{- end }}

{{/* A name that the certificate must be for. */}}
{{- define "jetpost.tlsName" -}}
{{- $issued := .Values.ingress.tls.certManager -}}
{{- if and $issued.enabled $issued.dnsNames }}{{ first $issued.dnsNames }}{{ else }}{{ .Values.hostname }}{{ end -}}
{{- end }}

{{/* The port that mail is delivered to. */}}
{{- define "jetpost.deliveryPort" -}}
{{- dig "delivery" "route" "port" 25 .Values.config | int -}}
{{- end }}

{{/* The ports that routes deliver to, as a JSON list; those that are not given follow from the action, as in delivery. */}}
{{- define "jetpost.routePorts" -}}
{{- $ports := list -}}
{{- range (dig "delivery" "routes" list .Values.config | default list) -}}
{{- range list .action .fallback -}}
{{- $action := . | default dict -}}
{{- $usual := ternary 465 (ternary 587 25 (not (empty $action.auth))) (eq ($action.tls | default "") "implicit") -}}
{{- if eq ($action.kind | default "") "lmtp" }}{{ $usual = 24 }}{{ end -}}
{{- if $action.preset -}}
{{- $ports = concat $ports (ternary (list 465) (list 587) (eq $action.preset "brevo")) -}}
{{- end -}}
{{- with $action.port }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- with dig "auth" "oauth" dict $action -}}
{{- $ports = append $ports (include "jetpost.policy.portOf" (.token_url | default "https://preset") | int) -}}
{{- end -}}
{{- range $action.hosts -}}
{{- $ports = append $ports (int (.port | default $usual)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}

{{/* The configuration file: the chart's own values over those of `config`. */}}
{{- define "jetpost.config" -}}
{{- $replicas := include "jetpost.nats.replicas" . | int -}}
{{- $users := dict "kind" "users_file" "path" "/etc/jetpost/users/users" -}}
{{- $usual := dict
  "log" (dict "format" "json")
  "queue" (dict "replicas" $replicas)
  "events" (dict "replicas" $replicas)
  "ingress" (dict "auth" (dict "backends" (list $users)))
-}}
{{- $ingress := dict
  "drain_s" .Values.ingress.drainSeconds
  "listeners" (include "jetpost.listeners" . | fromJsonArray)
  "tls" (dict "certificate" "/etc/jetpost/tls/tls.crt" "key" "/etc/jetpost/tls/tls.key")
-}}
{{- $delivery := dict "drain_s" .Values.delivery.drainSeconds -}}
{{- with dig "delivery" "routes" list .Values.config -}}
{{- if $.Values.test.enabled -}}
{{- /* The message of `helm test` goes to its own pod, whatever the routes say. */ -}}
{{- $test := dict "name" "helm-test" "match" (dict "listeners" (list "helm-test")) "action" (dict "kind" "mx") -}}
{{- $_ := set $delivery "routes" (prepend . $test) -}}
{{- end -}}
{{- end -}}
{{- $own := dict
  "hostname" (required "hostname: the public name of this system is required" .Values.hostname)
  "nats" (include "jetpost.nats.section" . | fromJson)
  "http" (dict "host" "0.0.0.0" "port" 8080)
  "ingress" $ingress
  "delivery" $delivery
  "bouncer" (dict "drain_s" .Values.bouncer.drainSeconds)
-}}
{{- if include "jetpost.dkim.secrets" . | fromJsonArray }}{{ $_ := set $usual "dkim" (dict "folder" "/etc/jetpost/dkim") }}{{ end -}}
{{- mergeOverwrite $usual (deepCopy .Values.config) $own | toYaml -}}
{{- end }}

{{/* What cannot work: better said here than by a pod that does not start. */}}
{{- define "jetpost.check" -}}
{{- $nats := .Values.nats -}}
{{- if and $nats.bundled.enabled $nats.servers -}}
{{- fail "nats.servers: set nats.bundled.enabled=false to use your own servers, or leave nats.servers empty" -}}
{{- end -}}
{{- if not (or $nats.bundled.enabled $nats.servers) -}}
{{- fail "nats.servers: set the URLs of your nats-servers, or set nats.bundled.enabled=true" -}}
{{- end -}}
{{- if and $nats.existingSecret $nats.credentialsSecret -}}
{{- fail "nats.credentialsSecret: set either nats.credentialsSecret or nats.existingSecret" -}}
{{- end -}}
{{- if and $nats.bundled.tls.certManager $nats.bundled.tls.existingSecret -}}
{{- fail "nats.bundled.tls: set either certManager or existingSecret" -}}
{{- end -}}
{{- $running := include "jetpost.nats.running" . | int -}}
{{- if and $nats.bundled.enabled (lt (int $nats.bundled.replicas) $running) -}}
{{- fail (printf "nats.bundled.replicas: %d nats-servers run, and a change to %d would lose messages or the quorum; see docs/howto/nats-sizing.md" $running (int $nats.bundled.replicas)) -}}
{{- end -}}
{{- if dig "ingress" "tls" nil .Values.config -}}
{{- fail "config.ingress.tls: the certificate is read from a Secret; set ingress.tls" -}}
{{- end -}}
{{- range list "ingress" "delivery" "bouncer" -}}
{{- if hasKey (index $.Values.config . | default dict) "drain_s" -}}
{{- fail (printf "config.%s.drain_s: set %s.drainSeconds, from which the grace period is computed" . .) -}}
{{- end -}}
{{- end -}}
{{- if and (dig "ingress" "auth" "backends" nil .Values.config) (or .Values.ingress.users .Values.ingress.usersSecret) -}}
{{- fail "config.ingress.auth.backends: they replace ingress.users and ingress.usersSecret; set only one of them" -}}
{{- end -}}
{{- $wanted := dig "queue" "replicas" 0 .Values.config | int -}}
{{- if and $nats.bundled.enabled (gt $wanted (int $nats.bundled.replicas)) -}}
{{- fail (printf "config.queue.replicas: it is %d, but nats.bundled.replicas is %d" $wanted (int $nats.bundled.replicas)) -}}
{{- end -}}
{{- if and .Values.ingress.tls.certManager.enabled .Values.ingress.tls.existingSecret -}}
{{- fail "ingress.tls: set either certManager or existingSecret" -}}
{{- end -}}
{{- if and .Values.ingress.users .Values.ingress.usersSecret -}}
{{- fail "ingress.users: set either ingress.users or ingress.usersSecret" -}}
{{- end -}}
{{- if and .Values.delivery.hpa.enabled .Values.delivery.keda.enabled -}}
{{- fail "delivery.keda: enable either delivery.keda or delivery.hpa" -}}
{{- end -}}
{{- $inSecrets := false -}}
{{- if eq (dig "dkim" "folder" "" .Values.config | default "") "/etc/jetpost/dkim" }}{{ $inSecrets = true }}{{ end -}}
{{- range dig "dkim" "keys" list .Values.config -}}
{{- if hasPrefix "/etc/jetpost/dkim/" (.file | default "") }}{{ $inSecrets = true }}{{ end -}}
{{- end -}}
{{- $secrets := include "jetpost.dkim.secrets" . | fromJsonArray -}}
{{- if and $inSecrets (not $secrets) -}}
{{- fail "dkim.secrets: config.dkim has files in /etc/jetpost/dkim; name the Secrets that have them" -}}
{{- end -}}
{{- if and $secrets (not $inSecrets) (dig "dkim" "folder" "" .Values.config) -}}
{{- fail "config.dkim.folder: the keys of dkim.secrets and dkim.create are in /etc/jetpost/dkim, and nobody would read them; leave the folder out" -}}
{{- end -}}
{{- $names := list -}}{{- $ports := list -}}
{{- range $listener := include "jetpost.listeners" . | fromJsonArray -}}
{{- if has (int .port) $ports }}{{ fail (printf "config.ingress.listeners: port %d is used twice" (int .port)) }}{{ end -}}
{{- if lt (int .port) 1024 -}}
{{- fail (printf "config.ingress.listeners: %s has port %d; pods do not run as root, so use a port above 1023 and map it in ingress.service.ports" .name (int .port)) -}}
{{- end -}}
{{- if eq (int .port) 8080 }}{{ fail (printf "config.ingress.listeners: %s uses port 8080, which is reserved for metrics and probes" .name) }}{{ end -}}
{{- if has .host (list nil "127.0.0.1" "::1" "localhost") -}}
{{- fail (printf "config.ingress.listeners: %s listens on loopback only; set host: 0.0.0.0 (or ::)" .name) -}}
{{- end -}}
{{- $halves := list -}}
{{- range .relay_networks | default list -}}
{{- $halves = append $halves (lower (toString .)) -}}
{{- end -}}
{{- range $network := $halves -}}
{{- if or (regexMatch "/(0+|0\\.0\\.0\\.0)$" $network) (hasPrefix "::ffff:0:0/96" $network) (and (eq $network "0.0.0.0/1") (has "128.0.0.0/1" $halves)) (and (eq $network "::/1") (has "8000::/1" $halves)) (eq $network "2000::/3") -}}
{{- fail (printf "config.ingress.listeners: relay_networks of %s has %s, so anybody could send mail to anybody without AUTH (an open relay); name your own clients' networks, such as 10.0.0.0/8" $listener.name $network) -}}
{{- end -}}
{{- end -}}
{{- $names = append $names .name -}}{{- $ports = append $ports (int .port) -}}
{{- end -}}
{{- range $listener, $_ := .Values.ingress.service.ports -}}
{{- if not (has $listener $names) -}}
{{- fail (printf "ingress.service.ports: there is no listener %s in config.ingress.listeners" $listener) -}}
{{- end -}}
{{- end -}}
{{- if .Values.delivery.unbound.enabled -}}
{{- if not .Values.delivery.unbound.image }}{{ fail "delivery.unbound.image: set an image that has unbound on its PATH" }}{{ end -}}
{{- if and .Values.test.enabled (not (hasKey .Values.delivery.unbound.forward .Values.clusterDomain)) -}}
{{- fail (printf "delivery.unbound.forward: add %s with the address of the cluster's DNS, which helm test needs, or set test.enabled=false" .Values.clusterDomain) -}}
{{- end -}}
{{- end -}}
{{- end }}
