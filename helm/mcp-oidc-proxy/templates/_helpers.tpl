{{/* Names */}}
{{- define "mcp-oidc-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "mcp-oidc-proxy.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "mcp-oidc-proxy.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "mcp-oidc-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mcp-oidc-proxy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change, for selectors. In a pod of somebody else's they are that pod's. */}}
{{- define "mcp-oidc-proxy.selectorLabels" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- toYaml .Values.sidecar.selectorLabels -}}
{{- else -}}
app.kubernetes.io/name: {{ include "mcp-oidc-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end -}}
{{- end -}}

{{/*
What finds all pods that serve, whoever made them: a canary controller copies the Deployment and gives the copy's pods another
`app.kubernetes.io/name`, so that name is not asked for. The label of our own keeps two of these charts in one release apart.
*/}}
{{- define "mcp-oidc-proxy.podLabels" -}}
{{- if ne .Values.mode "sidecar" -}}
mcp-oidc-proxy/pods-of: {{ include "mcp-oidc-proxy.fullname" . }}
{{- end -}}
{{- end -}}
{{- define "mcp-oidc-proxy.podSelector" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- include "mcp-oidc-proxy.selectorLabels" . -}}
{{- else -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{ include "mcp-oidc-proxy.podLabels" . }}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.labels" -}}
{{- $labels := dict
  "app.kubernetes.io/name" (include "mcp-oidc-proxy.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" (.Chart.AppVersion | toString)
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
-}}
{{- toYaml (mergeOverwrite $labels .Values.commonLabels) -}}
{{- end -}}

{{/* metadata of an object: (dict "root" $ "name" NAME "labels" {} "annotations" {} "namespace" "") */}}
{{- define "mcp-oidc-proxy.metadata" -}}
{{- $labels := mergeOverwrite (include "mcp-oidc-proxy.labels" .root | fromYaml) (.labels | default dict) -}}
{{- $annotations := mergeOverwrite (deepCopy .root.Values.commonAnnotations) (.annotations | default dict) -}}
name: {{ .name }}
namespace: {{ default (include "mcp-oidc-proxy.namespace" .root) .namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "mcp-oidc-proxy.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- if $image.registry -}}
{{- $name = printf "%s/%s" $image.registry $image.repository -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The host and, if it is written, the port of `config.public_url`. */}}
{{- define "mcp-oidc-proxy.publicHost" -}}
{{- $url := dig "public_url" "" .Values.config | toString -}}
{{- if $url -}}
{{- (urlParse $url).host | splitList ":" | first -}}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.trafficPortName" -}}
{{- ternary "https" "http" .Values.tls.enabled -}}
{{- end -}}

{{/*
Names of the container's ports. In a pod of somebody else's, a Service that leads to `http` could lead to the server itself,
past the proxy: names of our own there.
*/}}
{{- define "mcp-oidc-proxy.containerPortName" -}}
{{- if eq .Values.mode "sidecar" -}}mcp-proxy{{- else -}}{{- include "mcp-oidc-proxy.trafficPortName" . -}}{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.metricsPortName" -}}
{{- ternary "mcp-metrics" "metrics" (eq .Values.mode "sidecar") -}}
{{- end -}}

{{- define "mcp-oidc-proxy.trafficPort" -}}
{{- ternary .Values.ports.https .Values.ports.http .Values.tls.enabled | int -}}
{{- end -}}

{{- define "mcp-oidc-proxy.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else if .Values.certificate.enabled -}}
{{- printf "%s-tls" (include "mcp-oidc-proxy.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.configMapName" -}}
{{- default (include "mcp-oidc-proxy.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{/* How many pods there may be at most. */}}
{{- define "mcp-oidc-proxy.maxReplicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- .Values.autoscaling.maxReplicas -}}
{{- else -}}
{{- include "mcp-oidc-proxy.replicas" . -}}
{{- end -}}
{{- end -}}

{{- define "mcp-oidc-proxy.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount -}}3{{- else -}}{{- .Values.replicaCount | int -}}{{- end -}}
{{- end -}}

{{/* `sleep`, `drain` or `none`: who waits while load balancers learn that the pod ends. */}}
{{- define "mcp-oidc-proxy.preStop" -}}
{{- $wanted := .Values.drain.preStop -}}
{{- if eq $wanted "auto" -}}
{{- if eq (int .Values.drain.delay) 0 -}}none
{{- else if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}sleep
{{- else if .Values.admin.enabled -}}drain
{{- else -}}none
{{- end -}}
{{- else -}}
{{- $wanted -}}
{{- end -}}
{{- end -}}

{{/* Seconds that the end of a pod takes at least. */}}
{{- define "mcp-oidc-proxy.leastGrace" -}}
{{- add (int .Values.drain.delay) (int .Values.drain.timeout) (int .Values.drain.streamGrace) -}}
{{- end -}}

{{- define "mcp-oidc-proxy.grace" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add (include "mcp-oidc-proxy.leastGrace" . | int) (int .Values.drain.margin) -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds | int -}}
{{- end -}}
{{- end -}}
