{{/*
Combinations that cannot work, refused while the chart is rendered. Each message says what is wrong and what to do.
What values.schema.json can say is said there.
*/}}
{{- define "mcp-oidc-proxy.validate" -}}
{{- $v := .Values -}}
{{- $c := $v.config -}}
{{- $own := not $v.existingConfigMap -}}
{{- $redis := eq $v.sessionStorage.type "redis" -}}
{{- $r := $v.sessionStorage.redis -}}

{{- /* The configuration */ -}}
{{- if and $v.existingConfigMap $c -}}
{{- fail "config and existingConfigMap are both set: put the configuration into one of them" -}}
{{- end -}}
{{- range $key := list "listen" "admin" "shutdown" -}}
{{- if hasKey $c $key -}}
{{- fail (printf "config.%s is made by the chart: use %s instead" $key (get (dict "listen" "ports, bindAddress and tls" "admin" "admin.enabled" "shutdown" "drain") $key)) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "enabled" "address" -}}
{{- if hasKey (get $c "metrics" | default dict) $key -}}
{{- fail (printf "config.metrics.%s is made by the chart: use metrics.enabled and ports.metrics instead" $key) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (get $c "reload" | default dict) "watch" -}}
{{- fail "config.reload.watch is made by the chart: use reload.mode instead" -}}
{{- end -}}
{{- if $own -}}
{{- if not (get $c "public_url") -}}
{{- fail "config.public_url is not set: write the https address under which people and clients reach the proxy" -}}
{{- end -}}
{{- if and (not (hasPrefix "https://" $c.public_url)) (not $v.allowInsecure) -}}
{{- fail (printf "config.public_url is %s: people's sessions need https. For trying things out set allowInsecure: true" $c.public_url) -}}
{{- end -}}
{{- if and (not (get $c "oidc")) (ne (dig "auth" "mode" "oidc" $c) "bypass") (not (dig "auth" "api_keys" list $c)) (not (dig "auth" "issuers" list $c)) -}}
{{- fail "config.oidc is not set: write issuer and client_id of the identity provider (or auth.issuers or auth.api_keys, when nobody signs in)" -}}
{{- end -}}
{{- if not (get $c "backends") -}}
{{- fail "config.backends is not set: name the MCP server, as in [{name: mcp, upstream: http://mcp-server.default.svc:3000/mcp}]" -}}
{{- end -}}
{{- if not (get $c "routes") -}}
{{- fail "config.routes is not set: say which path goes to which backend and who may use it, as in [{path: /mcp, backend: mcp, allow: {any_user: true}}]" -}}
{{- end -}}
{{- end -}}
{{- if and (not $own) (eq $v.reload.mode "watch") (not $v.metrics.enabled) -}}
{{- fail "existingConfigMap with metrics.enabled: false: nothing tells whether a reload worked; leave metrics on" -}}
{{- end -}}

{{- /* Secrets */ -}}
{{- range $entry := (include "mcp-oidc-proxy.secretList" . | fromYaml).secrets -}}
{{- if ne (len (keys $entry.source)) 1 -}}
{{- fail (printf "%s has %d sources (%s): give exactly one of value, existingSecret, externalSecret, file, reference" $entry.where (len (keys $entry.source)) (keys $entry.source | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and (hasKey $entry.source "externalSecret") (not $v.externalSecrets.secretStoreRef.name) -}}
{{- fail (printf "%s is an externalSecret, but externalSecrets.secretStoreRef.name is not set: name the SecretStore" $entry.where) -}}
{{- end -}}
{{- if and (not $own) (hasKey $entry.source "reference") -}}
{{- fail (printf "%s is a reference, which belongs into the configuration: with existingConfigMap write it there" $entry.where) -}}
{{- end -}}
{{- end -}}
{{- if $own -}}
{{- with get $c "oidc" -}}
{{- if and $v.secrets.clientSecret (hasKey . "client_secret") -}}
{{- fail "config.oidc.client_secret and secrets.clientSecret are both set: keep one" -}}
{{- end -}}
{{- if and (not $v.secrets.clientSecret) (not (hasKey . "client_secret")) (not (hasKey . "private_key")) (ne (get . "client_auth" | default "") "none") -}}
{{- fail "secrets.clientSecret has no source: give it one (existingSecret: {name, key}), or say config.oidc.client_auth: none for a public client" -}}
{{- end -}}
{{- if and (hasKey . "client_secret") (kindIs "string" .client_secret) -}}
{{- fail "config.oidc.client_secret holds the secret itself, and a ConfigMap is no place for it: use secrets.clientSecret" -}}
{{- end -}}
{{- end -}}
{{- if and $v.secrets.rootKeys (hasKey $c "secret_keys") -}}
{{- fail "config.secret_keys and secrets.rootKeys are both set: keep one" -}}
{{- end -}}
{{- range (get $c "secret_keys" | default list) -}}
{{- if kindIs "string" . -}}
{{- fail "config.secret_keys holds a key itself, and a ConfigMap is no place for it: use secrets.rootKeys" -}}
{{- end -}}
{{- end -}}
{{- if and $redis (not $v.secrets.rootKeys) (not (get $c "secret_keys")) -}}
{{- fail "secrets.rootKeys is empty: sessions in Redis are sealed with a key of yours. `mcp-oidc-proxy keygen` (or `openssl rand -base64 32`) prints one; put it into a Secret and name it: rootKeys: [{existingSecret: {name: N, key: K}}]" -}}
{{- end -}}
{{- end -}}

{{- /* Sessions */ -}}
{{- if and $own (dig "sessions" "store" "" $c) (ne (dig "sessions" "store" "" $c) $v.sessionStorage.type) -}}
{{- fail (printf "config.sessions.store is %s and sessionStorage.type is %s: leave the first one out" (dig "sessions" "store" "" $c) $v.sessionStorage.type) -}}
{{- end -}}
{{- if and $own (eq $v.mode "deployment") (not $redis) (gt (include "mcp-oidc-proxy.maxReplicas" . | int) 1) -}}
{{- fail (printf "sessionStorage.type is memory with up to %s pods: each would know only its own sessions. Use redis, or replicaCount: 1" (include "mcp-oidc-proxy.maxReplicas" .)) -}}
{{- end -}}
{{- if and $own $redis (not $v.devRedis.enabled) (not (dig "sessions" "redis" dict $c)) -}}
{{- if and (eq $r.clientType "standalone") (not $r.standalone.connectionUrl) (not (get $r.options "url")) -}}
{{- fail "sessionStorage.redis.standalone.connectionUrl is not set: write redis://host:6379/0. For development: devRedis.enabled: true; for one pod without Redis: sessionStorage.type: memory and replicaCount: 1" -}}
{{- end -}}
{{- if and (eq $r.clientType "sentinel") (not $r.sentinel.connectionUrls) -}}
{{- fail "sessionStorage.redis.sentinel.connectionUrls is empty: list the Sentinels, as in [redis://sentinel-0:26379]" -}}
{{- end -}}
{{- if and (eq $r.clientType "cluster") (not $r.cluster.connectionUrls) -}}
{{- fail "sessionStorage.redis.cluster.connectionUrls is empty: list some nodes, as in [redis://node-0:6379]" -}}
{{- end -}}
{{- end -}}
{{- if $v.devRedis.enabled -}}
{{- if not $redis -}}
{{- fail "devRedis.enabled with sessionStorage.type: memory: nothing would use it" -}}
{{- end -}}
{{- if or $r.standalone.connectionUrl $r.sentinel.connectionUrls $r.cluster.connectionUrls -}}
{{- fail "devRedis.enabled and an address of another Redis in sessionStorage are both set: keep one" -}}
{{- end -}}
{{- if $v.secrets.redisPassword -}}
{{- fail "devRedis.enabled with secrets.redisPassword: the small Redis has no password. Use a Redis of your own" -}}
{{- end -}}
{{- end -}}

{{- /* Ports and TLS */ -}}
{{- if and $v.metrics.enabled (eq (include "mcp-oidc-proxy.trafficPort" . | int) (int $v.ports.metrics)) -}}
{{- fail (printf "ports.metrics and the port for traffic are both %d: metrics would be public. Choose another" (int $v.ports.metrics)) -}}
{{- end -}}
{{- if and $v.tls.enabled (not (include "mcp-oidc-proxy.tlsSecret" .)) -}}
{{- fail "tls.enabled without a certificate: set tls.existingSecret or certificate.enabled" -}}
{{- end -}}
{{- if and $v.certificate.enabled (not $v.certificate.issuerRef.name) -}}
{{- fail "certificate.enabled without certificate.issuerRef.name: name the Issuer or ClusterIssuer" -}}
{{- end -}}
{{- if and $v.certificate.enabled (not (include "mcp-oidc-proxy.publicHost" .)) (not $v.certificate.extraDnsNames) -}}
{{- fail "certificate.enabled without a host: set config.public_url or certificate.extraDnsNames" -}}
{{- end -}}
{{- if and $v.certificate.enabled $v.tls.existingSecret -}}
{{- fail "certificate.enabled and tls.existingSecret are both set: keep one" -}}
{{- end -}}

{{- /* Ends of pods */ -}}
{{- if lt (include "mcp-oidc-proxy.grace" . | int) (include "mcp-oidc-proxy.leastGrace" . | int) -}}
{{- fail (printf "terminationGracePeriodSeconds is %s, but a pod needs %s to end (drain.delay + timeout + streamGrace): requests would be cut. Leave it unset, or lower drain.*" (include "mcp-oidc-proxy.grace" .) (include "mcp-oidc-proxy.leastGrace" .)) -}}
{{- end -}}
{{- if and (eq $v.drain.preStop "sleep") (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "drain.preStop: sleep needs Kubernetes 1.30, this is %s: use auto, drain or none" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (eq $v.drain.preStop "sleep") (eq (int $v.drain.delay) 0) -}}
{{- fail "drain.preStop: sleep with drain.delay: 0: there is nothing to sleep for. Use none" -}}
{{- end -}}
{{- if and (eq (include "mcp-oidc-proxy.preStop" .) "drain") (not $v.admin.enabled) -}}
{{- fail "drain.preStop: drain needs the admin listener: set admin.enabled: true, or drain.preStop: none" -}}
{{- end -}}

{{- /* Numbers of pods */ -}}
{{- if and $v.autoscaling.enabled (not (kindIs "invalid" $v.replicaCount)) -}}
{{- fail "autoscaling.enabled and replicaCount are both set: each upgrade would undo what the autoscaler decided. Remove replicaCount" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is above maxReplicas (%d)" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (kindIs "invalid" $v.autoscaling.targetCPUUtilizationPercentage) (kindIs "invalid" $v.autoscaling.targetActiveConnections) (not $v.autoscaling.extraMetrics) -}}
{{- fail "autoscaling.enabled without a metric: set targetCPUUtilizationPercentage, targetActiveConnections or extraMetrics" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not (kindIs "invalid" $v.autoscaling.targetCPUUtilizationPercentage)) (not (dig "requests" "cpu" "" $v.resources)) -}}
{{- fail "autoscaling by CPU needs resources.requests.cpu: the percentage is one of that" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not (kindIs "invalid" $v.autoscaling.targetActiveConnections)) (not $v.metrics.enabled) -}}
{{- fail "autoscaling.targetActiveConnections needs metrics.enabled: set it to null, or metrics on" -}}
{{- end -}}
{{- $least := ternary (int $v.autoscaling.minReplicas) (include "mcp-oidc-proxy.replicas" . | int) $v.autoscaling.enabled -}}
{{- $pdb := $v.podDisruptionBudget -}}
{{- if and $pdb.enabled (not (kindIs "invalid" $pdb.minAvailable)) (not (kindIs "invalid" $pdb.maxUnavailable)) -}}
{{- fail "podDisruptionBudget.minAvailable and maxUnavailable are both set: keep one" -}}
{{- end -}}
{{- if and (eq $v.mode "deployment") $pdb.enabled (not (kindIs "invalid" $pdb.minAvailable)) -}}
{{- $kept := int $pdb.minAvailable -}}
{{- if hasSuffix "%" (toString $pdb.minAvailable) -}}
{{- /* A part of a pod counts as a whole one: 67% of 3 is 3. The fewest pods there can be decide, for more of them leave more room. */ -}}
{{- $kept = div (add (mul (trimSuffix "%" $pdb.minAvailable | int) $least) 99) 100 | int -}}
{{- end -}}
{{- if and (gt $least 0) (ge $kept $least) -}}
{{- fail (printf "podDisruptionBudget.minAvailable is %v, which keeps %d of %d pods: no node could ever be drained. Lower it" $pdb.minAvailable $kept $least) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.mode "deployment") $pdb.enabled (not (kindIs "invalid" $pdb.maxUnavailable)) (eq (toString $pdb.maxUnavailable | trimSuffix "%" | int) 0) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable is %v: no node could ever be drained. Raise it" $pdb.maxUnavailable) -}}
{{- end -}}

{{- /* Monitoring */ -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled: everything would be scraped twice. Keep one" -}}
{{- end -}}
{{- if and (or $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled) (not $v.metrics.enabled) -}}
{{- fail "a monitor is enabled, but metrics.enabled is false: there is nothing to scrape" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.service.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.service.enabled, or use metrics.podMonitor" -}}
{{- end -}}

{{- /* The way in */ -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) (not (include "mcp-oidc-proxy.publicHost" .)) -}}
{{- fail "ingress.enabled without a host: set ingress.hosts or config.public_url" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.hostnames) (not (include "mcp-oidc-proxy.publicHost" .)) -}}
{{- fail "httpRoute.enabled without a host: set httpRoute.hostnames or config.public_url" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled without httpRoute.parentRefs: name the Gateway" -}}
{{- end -}}
{{- if and $v.service.nodePort (eq $v.service.type "ClusterIP") -}}
{{- fail "service.nodePort is set, but service.type is ClusterIP: use NodePort or LoadBalancer" -}}
{{- end -}}

{{- /* A pod of somebody else's */ -}}
{{- if eq $v.mode "sidecar" -}}
{{- if not $v.sidecar.selectorLabels -}}
{{- fail "mode is sidecar, but sidecar.selectorLabels is empty: Services, policies and monitors would select nothing. Write the labels of your pods" -}}
{{- end -}}
{{- if or $v.autoscaling.enabled $v.verticalPodAutoscaler.enabled -}}
{{- fail "mode is sidecar: scaling belongs to the workload that holds it. Switch autoscaling and verticalPodAutoscaler off" -}}
{{- end -}}
{{- end -}}
{{- end -}}
