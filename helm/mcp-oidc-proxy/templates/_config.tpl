{{/* What the chart adds to `config`: its keys are those that `config` leaves out. */}}
{{- define "mcp-oidc-proxy.config" -}}
{{- $fullname := include "mcp-oidc-proxy.fullname" . -}}
{{- $namespace := include "mcp-oidc-proxy.namespace" . -}}
{{- $own := dict "version" 1 -}}
{{- $listener := dict "address" (printf "%s:%s" .Values.bindAddress (include "mcp-oidc-proxy.trafficPort" .)) -}}
{{- if .Values.tls.enabled -}}
{{- $_ := set $listener "tls" (dict "cert_file" "/etc/mcp-proxy/tls/tls.crt" "key_file" "/etc/mcp-proxy/tls/tls.key") -}}
{{- end -}}
{{- $_ := set $own "listen" (list $listener) -}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $own "metrics" (dict "enabled" true "address" (printf "%s:%d" .Values.bindAddress (int .Values.ports.metrics))) -}}
{{- else -}}
{{- $_ := set $own "metrics" (dict "enabled" false) -}}
{{- end -}}
{{- if .Values.admin.enabled -}}
{{- $_ := set $own "admin" (dict "address" "unix:/run/mcp-proxy/admin.sock") -}}
{{- end -}}
{{- if eq .Values.reload.mode "watch" -}}
{{- $_ := set $own "reload" (dict "watch" true) -}}
{{- end -}}
{{- $delay := ternary 0 (int .Values.drain.delay) (eq (include "mcp-oidc-proxy.preStop" .) "sleep") -}}
{{- $_ := set $own "shutdown" (dict "delay" (printf "%ds" $delay) "timeout" (printf "%ds" (int .Values.drain.timeout)) "stream_grace" (printf "%ds" (int .Values.drain.streamGrace))) -}}
{{- /* Callers inside the cluster reach the proxy by its Service. */ -}}
{{- $hosts := list -}}
{{- range $host := list $fullname (printf "%s.%s" $fullname $namespace) (printf "%s.%s.svc" $fullname $namespace) -}}
{{- $hosts = append $hosts $host -}}
{{- if and (ne (int $.Values.service.port) 80) (ne (int $.Values.service.port) 443) -}}
{{- $hosts = append $hosts (printf "%s:%d" $host (int $.Values.service.port)) -}}
{{- end -}}
{{- end -}}
{{- if not (hasKey .Values.config "allowed_hosts") -}}
{{- $_ := set $own "allowed_hosts" $hosts -}}
{{- end -}}
{{- $_ := set $own "sessions" (include "mcp-oidc-proxy.sessions" . | fromYaml) -}}
{{- $merged := mergeOverwrite $own (deepCopy .Values.config) -}}
{{- include "mcp-oidc-proxy.withSecrets" (dict "root" . "config" $merged) -}}
{{- end -}}

{{- define "mcp-oidc-proxy.sessions" -}}
{{- $storage := .Values.sessionStorage -}}
{{- if eq $storage.type "memory" -}}
store: memory
{{- else -}}
{{- $r := $storage.redis -}}
{{- $redis := dict -}}
{{- if .Values.devRedis.enabled -}}
{{- $_ := set $redis "url" (printf "redis://%s-dev-redis.%s.svc:6379/0" (include "mcp-oidc-proxy.fullname" .) (include "mcp-oidc-proxy.namespace" .)) -}}
{{- else if eq $r.clientType "standalone" -}}
{{- $_ := set $redis "url" $r.standalone.connectionUrl -}}
{{- else if eq $r.clientType "sentinel" -}}
{{- $sentinel := dict "nodes" $r.sentinel.connectionUrls "master_name" $r.sentinel.masterName -}}
{{- with $r.sentinel.username -}}{{- $_ := set $sentinel "username" . -}}{{- end -}}
{{- $_ := set $redis "url" $r.sentinel.connectionUrl -}}
{{- $_ := set $redis "sentinel" $sentinel -}}
{{- else -}}
{{- $_ := set $redis "cluster" $r.cluster.connectionUrls -}}
{{- end -}}
{{- with $r.username -}}{{- $_ := set $redis "username" . -}}{{- end -}}
{{- with $r.tls -}}{{- $_ := set $redis "tls" . -}}{{- end -}}
{{- $redis = mergeOverwrite $redis (deepCopy $r.options) -}}
{{- dict "store" "redis" "redis" $redis | toYaml -}}
{{- end -}}
{{- end -}}

{{/* Puts the references to secrets where the configuration has them: (dict "root" $ "config" C). */}}
{{- define "mcp-oidc-proxy.withSecrets" -}}
{{- $config := .config -}}
{{- $s := .root.Values.secrets -}}
{{- with $s.clientSecret -}}
{{- $oidc := get $config "oidc" | default dict -}}
{{- $_ := set $oidc "client_secret" (include "mcp-oidc-proxy.secretReference" (dict "path" "client-secret" "source" .) | fromYaml) -}}
{{- $_ := set $config "oidc" $oidc -}}
{{- end -}}
{{- $redis := dig "sessions" "redis" dict $config -}}
{{- with $s.redisPassword -}}
{{- $_ := set $redis "password" (include "mcp-oidc-proxy.secretReference" (dict "path" "redis-password" "source" .) | fromYaml) -}}
{{- end -}}
{{- with $s.sentinelPassword -}}
{{- $sentinel := get $redis "sentinel" | default dict -}}
{{- $_ := set $sentinel "password" (include "mcp-oidc-proxy.secretReference" (dict "path" "sentinel-password" "source" .) | fromYaml) -}}
{{- $_ := set $redis "sentinel" $sentinel -}}
{{- end -}}
{{- with $s.auditKey -}}
{{- $audit := get $config "audit" | default dict -}}
{{- $_ := set $audit "signing_key" (include "mcp-oidc-proxy.secretReference" (dict "path" "audit-key" "source" .) | fromYaml) -}}
{{- $_ := set $config "audit" $audit -}}
{{- end -}}
{{- with $s.rootKeys -}}
{{- $_ := set $config "secret_keys" (include "mcp-oidc-proxy.secretReferences" (dict "name" "root-key" "sources" .) | fromYaml).list -}}
{{- end -}}
{{- with $s.signingKeys -}}
{{- $server := get $config "authorization_server" | default dict -}}
{{- $_ := set $server "signing_keys" (include "mcp-oidc-proxy.secretReferences" (dict "name" "signing-key" "sources" .) | fromYaml).list -}}
{{- $_ := set $config "authorization_server" $server -}}
{{- end -}}
{{- with $s.assertionKeys -}}
{{- $assertions := get $config "assertions" | default dict -}}
{{- $_ := set $assertions "signing_keys" (include "mcp-oidc-proxy.secretReferences" (dict "name" "assertion-key" "sources" .) | fromYaml).list -}}
{{- $_ := set $config "assertions" $assertions -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "mcp-oidc-proxy.secretReferences" -}}
{{- $list := list -}}
{{- range $i, $source := .sources -}}
{{- $list = append $list (include "mcp-oidc-proxy.secretReference" (dict "path" (printf "%s-%d" $.name $i) "source" $source) | fromYaml) -}}
{{- end -}}
{{- dict "list" $list | toYaml -}}
{{- end -}}

{{/* Ports of addresses outside that the configuration names, sorted: what the network policy has to let out. */}}
{{- define "mcp-oidc-proxy.egressPorts" -}}
{{- $urls := list -}}
{{- $c := include "mcp-oidc-proxy.config" . | fromYaml -}}
{{- with dig "oidc" "issuer" "" $c -}}{{- $urls = append $urls . -}}{{- end -}}
{{- range (get $c "further_providers" | default list) -}}{{- $urls = append $urls (get . "issuer") -}}{{- end -}}
{{- range (dig "auth" "issuers" list $c) -}}
{{- $urls = append $urls (get . "issuer") -}}
{{- with get . "jwks_uri" -}}{{- $urls = append $urls . -}}{{- end -}}
{{- with dig "introspection" "endpoint" "" . -}}{{- $urls = append $urls . -}}{{- end -}}
{{- end -}}
{{- range (get $c "backends" | default list) -}}
{{- with get . "upstream" -}}{{- $urls = append $urls . -}}{{- end -}}
{{- range (get . "endpoints" | default list) -}}{{- $urls = append $urls . -}}{{- end -}}
{{- end -}}
{{- $redis := dig "sessions" "redis" dict $c -}}
{{- with get $redis "sentinel" -}}
{{- range (get . "nodes") -}}{{- $urls = append $urls . -}}{{- end -}}
{{- $urls = append $urls "redis://any:6379" -}}
{{- else -}}
{{- with get $redis "url" -}}{{- if kindIs "string" . -}}{{- $urls = append $urls . -}}{{- end -}}{{- end -}}
{{- end -}}
{{- range (get $redis "cluster" | default list) -}}{{- $urls = append $urls . -}}{{- end -}}
{{- with dig "tracing" "endpoint" "" $c -}}{{- $urls = append $urls . -}}{{- end -}}
{{- with dig "vault" "address" "" $c -}}{{- $urls = append $urls . -}}{{- end -}}
{{- /* Documents of clients, and key sets that they name, are fetched over https. */ -}}
{{- $ports := list 443 -}}
{{- range $url := $urls -}}
{{- if not (hasPrefix "unix:" $url) -}}
{{- $parsed := urlParse $url -}}
{{- $port := regexFind ":[0-9]+$" $parsed.host | trimPrefix ":" -}}
{{- if $port -}}{{- $ports = append $ports (int $port) -}}
{{- else if eq $parsed.scheme "https" -}}{{- $ports = append $ports 443 -}}
{{- else if eq $parsed.scheme "http" -}}{{- $ports = append $ports 80 -}}
{{- else if hasPrefix "redis" $parsed.scheme -}}{{- $ports = append $ports 6379 -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.networkPolicy.egress.extraPorts -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- $texts := list -}}
{{- range $ports -}}{{- $texts = append $texts (printf "%05d" (int .)) -}}{{- end -}}
{{- $sorted := list -}}
{{- range ($texts | uniq | sortAlpha) -}}{{- $sorted = append $sorted (. | trimPrefix "0" | trimPrefix "0" | trimPrefix "0" | trimPrefix "0" | int) -}}{{- end -}}
{{- dict "ports" $sorted | toYaml -}}
{{- end -}}
