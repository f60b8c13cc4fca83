{{/* The proxy's container, without name and restart policy. Used by the Deployment and by sidecars. */}}
{{- define "mcp-oidc-proxy.container" -}}
image: {{ include "mcp-oidc-proxy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - --config
  - /etc/mcp-proxy/config.yaml
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: {{ include "mcp-oidc-proxy.containerPortName" . }}
    containerPort: {{ include "mcp-oidc-proxy.trafficPort" . }}
    protocol: TCP
  {{- if .Values.metrics.enabled }}
  - name: {{ include "mcp-oidc-proxy.metricsPortName" . }}
    containerPort: {{ .Values.ports.metrics }}
    protocol: TCP
  {{- end }}
{{- range $probe := list (list "startupProbe" "/health/startup" "/health") (list "livenessProbe" "/health/live" "/health") (list "readinessProbe" "/health/ready" "/ready") }}
{{ first $probe }}:
  httpGet:
    {{- if $.Values.metrics.enabled }}
    path: {{ index $probe 1 }}
    port: {{ include "mcp-oidc-proxy.metricsPortName" $ }}
    {{- else }}
    path: {{ index $probe 2 }}
    port: {{ include "mcp-oidc-proxy.containerPortName" $ }}
    scheme: {{ ternary "HTTPS" "HTTP" $.Values.tls.enabled }}
    {{- end }}
  {{- toYaml (index $.Values (first $probe)) | nindent 2 }}
{{- end }}
{{- $preStop := include "mcp-oidc-proxy.preStop" . }}
{{- if eq $preStop "sleep" }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.drain.delay }}
{{- else if eq $preStop "drain" }}
lifecycle:
  preStop:
    exec:
      command: [/usr/local/bin/mcp-oidc-proxy, drain, --wait, --admin, "unix:/run/mcp-proxy/admin.sock"]
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: {{ include "mcp-oidc-proxy.volumePrefix" . }}config
    mountPath: /etc/mcp-proxy
    readOnly: true
  - name: {{ include "mcp-oidc-proxy.volumePrefix" . }}run
    mountPath: /run/mcp-proxy
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* In a pod of somebody else's, names of volumes shall not meet theirs. */}}
{{- define "mcp-oidc-proxy.volumePrefix" -}}
{{- ternary "mcp-proxy-" "" (eq .Values.mode "sidecar") -}}
{{- end -}}

{{/*
The proxy's volumes. Configuration, secrets and certificates are one volume, so that a change of several of them is seen
at once. Nothing else can be written to but the folder of the admin socket.
*/}}
{{- define "mcp-oidc-proxy.volumes" -}}
- name: {{ include "mcp-oidc-proxy.volumePrefix" . }}config
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "mcp-oidc-proxy.configMapName" . }}
          items:
            - { key: config.yaml, path: config.yaml }
      {{- range $entry := (include "mcp-oidc-proxy.secretList" . | fromYaml).secrets }}
      {{- with include "mcp-oidc-proxy.secretMount" (dict "root" $ "entry" $entry) | fromYaml }}
      - secret:
          name: {{ .name }}
          items:
            - { key: {{ .key | quote }}, path: {{ printf "secrets/%s" $entry.path | quote }} }
      {{- end }}
      {{- end }}
      {{- if .Values.tls.enabled }}
      - secret:
          name: {{ include "mcp-oidc-proxy.tlsSecret" . }}
          items:
            - { key: tls.crt, path: tls/tls.crt }
            - { key: tls.key, path: tls/tls.key }
      {{- end }}
      {{- if .Values.serviceAccountToken.enabled }}
      - serviceAccountToken:
          audience: {{ .Values.serviceAccountToken.audience | quote }}
          expirationSeconds: {{ .Values.serviceAccountToken.expirationSeconds }}
          path: token
      {{- end }}
      {{- with .Values.extraConfigSources }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
- name: {{ include "mcp-oidc-proxy.volumePrefix" . }}run
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Annotations by which pods are replaced when what the chart itself made changes. */}}
{{- define "mcp-oidc-proxy.checksums" -}}
{{- if eq .Values.reload.mode "restart" -}}
checksum/config: {{ ternary "" (include "mcp-oidc-proxy.config" .) (not (empty .Values.existingConfigMap)) | sha256sum }}
checksum/secrets: {{ include "mcp-oidc-proxy.secretList" . | sha256sum }}
{{- end -}}
{{- end -}}
