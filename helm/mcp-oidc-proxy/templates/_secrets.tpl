{{/*
All secrets as one list under the key `secrets`: name (of the file and of the key in a Secret), path (below
/etc/mcp-proxy/secrets), where (in values, for messages) and source.
*/}}
{{- define "mcp-oidc-proxy.secretList" -}}
{{- $list := list -}}
{{- $s := .Values.secrets -}}
{{- range $pair := list (list "clientSecret" "client-secret") (list "redisPassword" "redis-password") (list "sentinelPassword" "sentinel-password") (list "auditKey" "audit-key") -}}
{{- with index $s (first $pair) -}}
{{- $list = append $list (dict "name" (last $pair) "path" (last $pair) "where" (printf "secrets.%s" (first $pair)) "source" .) -}}
{{- end -}}
{{- end -}}
{{- range $pair := list (list "rootKeys" "root-key") (list "signingKeys" "signing-key") (list "assertionKeys" "assertion-key") -}}
{{- range $i, $source := index $s (first $pair) -}}
{{- $name := printf "%s-%d" (last $pair) $i -}}
{{- $list = append $list (dict "name" $name "path" $name "where" (printf "secrets.%s[%d]" (first $pair) $i) "source" $source) -}}
{{- end -}}
{{- end -}}
{{- range $key := keys $s.extra | sortAlpha -}}
{{- $list = append $list (dict "name" (printf "extra-%s" $key) "path" (printf "extra/%s" $key) "where" (printf "secrets.extra.%s" $key) "source" (index $s.extra $key)) -}}
{{- end -}}
{{- dict "secrets" $list | toYaml -}}
{{- end -}}

{{/* What the configuration says about a secret: (dict "path" P "source" S). */}}
{{- define "mcp-oidc-proxy.secretReference" -}}
{{- if hasKey .source "reference" -}}
{{- toYaml .source.reference -}}
{{- else if hasKey .source "file" -}}
file: {{ .source.file | quote }}
{{- else -}}
file: {{ printf "/etc/mcp-proxy/secrets/%s" .path }}
{{- end -}}
{{- end -}}

{{/* The Secret and its key that a source is mounted from, or nothing: (dict "root" $ "entry" E). */}}
{{- define "mcp-oidc-proxy.secretMount" -}}
{{- $fullname := include "mcp-oidc-proxy.fullname" .root -}}
{{- $source := .entry.source -}}
{{- if hasKey $source "value" -}}
name: {{ $fullname }}
key: {{ .entry.name }}
{{- else if hasKey $source "existingSecret" -}}
name: {{ $source.existingSecret.name }}
key: {{ $source.existingSecret.key }}
{{- else if hasKey $source "externalSecret" -}}
name: {{ $fullname }}-external
key: {{ .entry.name }}
{{- end -}}
{{- end -}}
