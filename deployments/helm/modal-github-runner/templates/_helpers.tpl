{{- /* The helpers of one service take a dict: root, the chart's context; name, "ingress" or "worker"; of, its values. */ -}}

{{- define "mgr.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 54 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mgr.service" -}}
{{ include "mgr.fullname" .root }}-{{ .name }}
{{- end -}}

{{- define "mgr.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "mgr.commonLabels" -}}
app.kubernetes.io/part-of: modal-github-runner
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "mgr.labels" -}}
{{ include "mgr.selector" . }}
{{ include "mgr.commonLabels" .root }}
{{- end -}}

{{- define "mgr.image" -}}
{{- $registry := required "image.registry: is required: push the images that `make docker` builds, there are no public ones" .root.Values.image.registry -}}
{{- if not (or .of.image.tag .of.image.digest) -}}
{{- fail (printf "%s.image.tag: is required, or %s.image.digest" .name .name) -}}
{{- end -}}
{{ $registry }}/{{ .of.image.repository }}{{ with .of.image.tag }}:{{ . }}{{ end }}{{ with .of.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "mgr.secretName" -}}
{{- default (include "mgr.service" .) .of.secret.name -}}
{{- end -}}

{{- define "mgr.hasPools" -}}
{{- if and .Values.pools .Values.poolsConfigMap -}}
{{- fail "poolsConfigMap: must not be set together with pools" -}}
{{- end -}}
{{- if or .Values.pools .Values.poolsConfigMap -}}true{{- end -}}
{{- end -}}

{{- define "mgr.poolsConfigMap" -}}
{{- default (printf "%s-pools" (include "mgr.fullname" .)) .Values.poolsConfigMap -}}
{{- end -}}

{{- /* Files of the Secret that the connection to NATS needs. */ -}}
{{- define "mgr.natsItems" -}}
{{- if eq .root.Values.nats.auth "password" -}}
- { key: {{ .of.secret.keys.natsPassword | quote }}, path: nats_password }
{{- else if eq .root.Values.nats.auth "creds" -}}
- { key: {{ .of.secret.keys.natsCreds | quote }}, path: nats_creds }
{{- end }}
{{- end -}}

{{- /* The variables that both services have, and those that an operator adds. */ -}}
{{- define "mgr.commonEnv" -}}
- { name: NATS_URL, value: {{ .root.Values.nats.url | quote }} }
{{- if eq .root.Values.nats.auth "password" }}
- { name: NATS_USER, value: {{ .of.natsUser | quote }} }
- { name: NATS_PASSWORD_FILE, value: /etc/secrets/nats_password }
{{- else if eq .root.Values.nats.auth "creds" }}
- { name: NATS_CREDS_FILE, value: /etc/secrets/nats_creds }
{{- end }}
{{- if .root.Values.nats.caSecret }}
- { name: NATS_CA_FILE, value: /etc/nats-ca/ca.crt }
{{- end }}
{{- if include "mgr.hasPools" .root }}
- { name: POOLS_FILE, value: /etc/pools/pools.yaml }
{{- end }}
{{- with .root.Values.allowedRepos }}
- { name: ALLOWED_REPOS, value: {{ join "," . | quote }} }
{{- end }}
- { name: LOG_LEVEL, value: {{ .root.Values.logLevel | quote }} }
- { name: LOG_FORMAT, value: json }
{{- with .root.Values.otlpEndpoint }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- range $name, $value := .of.env }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end -}}

{{- define "mgr.mounts" -}}
- { name: secrets, mountPath: /etc/secrets, readOnly: true }
{{- if .root.Values.nats.caSecret }}
- { name: nats-ca, mountPath: /etc/nats-ca, readOnly: true }
{{- end }}
{{- if include "mgr.hasPools" .root }}
- { name: pools, mountPath: /etc/pools, readOnly: true }
{{- end }}
{{- with .of.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* All volumes but the one that has the service's secrets. Whole folders, since what is mounted by subPath is never renewed. */ -}}
{{- define "mgr.volumes" -}}
{{- $volumes := list -}}
{{- with .root.Values.nats.caSecret -}}
{{- $items := list (dict "key" "ca.crt" "path" "ca.crt") -}}
{{- $volumes = append $volumes (dict "name" "nats-ca" "secret" (dict "secretName" . "items" $items)) -}}
{{- end -}}
{{- if include "mgr.hasPools" .root -}}
{{- $items := list (dict "key" "pools.yaml" "path" "pools.yaml") -}}
{{- $volumes = append $volumes (dict "name" "pools" "configMap" (dict "name" (include "mgr.poolsConfigMap" .root) "items" $items)) -}}
{{- end -}}
{{- with concat $volumes .of.extraVolumes }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* Metadata of a pod. A new pools file is read by running pods, too; new ones show whether it can be used before the others go. */ -}}
{{- define "mgr.podMetadata" -}}
labels:
  {{- include "mgr.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: modal-github-runner
  {{- with .of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .name }}
  {{- if .root.Values.pools }}
  checksum/pools: {{ toYaml .root.Values.pools | sha256sum }}
  {{- end }}
  {{- with .of.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* What a pod may do, which is next to nothing, and where it goes. */ -}}
{{- define "mgr.podSpec" -}}
automountServiceAccountToken: false
# The service links of a service called ingress would look like settings of ours.
enableServiceLinks: false
{{- with .of.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .of.topologyKeys }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . | quote }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "mgr.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "mgr.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{- /* A start may take a minute; one that answers no more is started anew; one that can't do its work gets none. */ -}}
{{- define "mgr.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{- define "mgr.strategy" -}}
strategy:
  type: RollingUpdate
  rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
{{- end -}}
