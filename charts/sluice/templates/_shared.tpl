{{/*
Parts that the templates of all modes share. A mode is a template of its own, server-MODE.yaml, with the workload
and what belongs to it; what every installation needs in the cluster is base.yaml.
*/}}

{{/* The labels of the server, by which the Service finds its pods. */}}
{{- define "sluice.labels" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/component: apiserver
{{- end }}

{{/* The image, by digest if there is one. */}}
{{- define "sluice.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{/* The metadata of pods. */}}
{{- define "sluice.podMetadata" -}}
labels:
  {{- include "sluice.labels" . | nindent 2 }}
{{- with .Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What pods of all modes have: who they are, where they run, and that they have no privilege. */}}
{{- define "sluice.pod" -}}
serviceAccountName: sluice-apiserver
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName | default (eq .Values.mode "ha" | ternary "sluice-apiserver" "") }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* What the container of all modes has, its arguments and volumes aside. */}}
{{- define "sluice.container" -}}
name: sluice-apiserver
image: {{ include "sluice.image" . | quote }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
env:
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if eq .Values.mode "ha" }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
ports:
- name: https
  containerPort: 8443
  protocol: TCP
{{- if eq .Values.mode "ha" }}
- name: etcd-client
  containerPort: 2379
  protocol: TCP
- name: etcd-peer
  containerPort: 2380
  protocol: TCP
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
# A large store is read once at the start.
startupProbe:
  httpGet: {path: /livez, port: https, scheme: HTTPS}
  periodSeconds: 2
  failureThreshold: 90
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: /livez, port: https, scheme: HTTPS}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
# One of three that has no quorum is left out of the Service soon.
readinessProbe:
  httpGet: {path: /readyz, port: https, scheme: HTTPS}
  periodSeconds: {{ eq .Values.mode "ha" | ternary 1 2 }}
  failureThreshold: {{ eq .Values.mode "ha" | ternary 2 3 }}
  timeoutSeconds: 5
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{/* The volumes of a mode that stores Rollouts itself: the store, and its snapshots on one of their own. */}}
{{- define "sluice.claims" -}}
{{- range $name, $claim := dict "data" .Values.storage "snapshots" .Values.snapshots }}
- metadata:
    name: {{ $name }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with $claim.storageClassName }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ $claim.size }}
{{- end }}
{{- end }}

{{/* Where they are, and what else such a server writes to. */}}
{{- define "sluice.mounts" -}}
- name: data
  mountPath: /var/lib/sluice
- name: snapshots
  mountPath: /var/lib/sluice-snapshots
- name: tmp
  mountPath: /tmp
{{- end }}
