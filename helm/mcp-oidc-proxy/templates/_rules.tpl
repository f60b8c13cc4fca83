{{/* Bytes of a quantity such as 256Mi, 1.5Gi, 300M or 268435456; empty when there is none. */}}
{{- define "mcp-oidc-proxy.bytes" -}}
{{- $text := . | toString -}}
{{- if kindIs "float64" . -}}
{{- $text = . | int64 | toString -}}
{{- end -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if and (regexMatch "^[0-9]+([.][0-9]+)?[A-Za-z]*$" $text) (hasKey $units $unit) -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) | int64 -}}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.memoryLimit" -}}
{{- include "mcp-oidc-proxy.bytes" (dig "limits" "memory" "" (.Values.resources | default dict)) -}}
{{- end -}}

{{/* What a threshold is, where it is not what its file says: (dict "root" $ "of" NAME "level" LEVEL). */}}
{{- define "mcp-oidc-proxy.threshold" -}}
{{- $own := dig .of .level "" (.root.Values.metrics.prometheusRule.thresholds | default dict) -}}
{{- if ne (toString $own) "" -}}
vector({{ $own }})
{{- else if eq .of "memory_bytes" -}}
{{- with include "mcp-oidc-proxy.memoryLimit" .root -}}
vector({{ ternary "0.8" "0.95" (eq $.level "warning") }} * {{ . }})
{{- end -}}
{{- end -}}
{{- end -}}
