{{/*
For the pods of other charts. The context is this chart's own, which a parent chart has as `.Subcharts`:

  {{- $proxy := index .Subcharts "mcp-oidc-proxy" }}
  metadata:
    annotations:
      {{- include "mcp-oidc-proxy.sidecar.podAnnotations" $proxy | nindent 6 }}
  spec:
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: {{ include "mcp-oidc-proxy.sidecar.terminationGracePeriodSeconds" $proxy }}
    securityContext:
      {{- include "mcp-oidc-proxy.sidecar.podSecurityContext" $proxy | nindent 6 }}
    initContainers:
      {{- include "mcp-oidc-proxy.sidecar.initContainers" $proxy | nindent 6 }}
    containers:
      - name: server
        …
      {{- include "mcp-oidc-proxy.sidecar.containers" $proxy | nindent 6 }}
    volumes:
      {{- include "mcp-oidc-proxy.sidecar.volumes" $proxy | nindent 6 }}

with `mode: sidecar` in the values of this chart. With `sidecar.native: true` the first one holds the proxy and the second
is empty; with `false` it is the other way round. A whole example: deployments/sidecar/chart.
*/}}
{{- define "mcp-oidc-proxy.sidecar.initContainers" -}}
{{- if .Values.sidecar.native -}}
- name: mcp-oidc-proxy
  restartPolicy: Always
  {{- include "mcp-oidc-proxy.container" . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.sidecar.containers" -}}
{{- if not .Values.sidecar.native -}}
- name: mcp-oidc-proxy
  {{- include "mcp-oidc-proxy.container" . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.sidecar.volumes" -}}
{{- include "mcp-oidc-proxy.volumes" . -}}
{{- end -}}

{{/* Annotations for the pod: a changed configuration replaces it (reload.mode: restart). */}}
{{- define "mcp-oidc-proxy.sidecar.podAnnotations" -}}
{{- include "mcp-oidc-proxy.checksums" . -}}
{{- end -}}

{{/* Seconds that the pod needs to end, besides what the server itself needs. */}}
{{- define "mcp-oidc-proxy.sidecar.terminationGracePeriodSeconds" -}}
{{- include "mcp-oidc-proxy.grace" . -}}
{{- end -}}

{{/* The security context of the pod. One of your own needs an `fsGroup` as well: the mounted files are for group and root only. */}}
{{- define "mcp-oidc-proxy.sidecar.podSecurityContext" -}}
{{- toYaml .Values.podSecurityContext -}}
{{- end -}}
