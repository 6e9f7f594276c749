{{/* The engine of the store. */}}
{{- define "tokenbroker.engine" -}}
{{ dig "store" "engine" "badger" .Values.config }}
{{- end }}

{{/* The name of the ConfigMap has the hash of its content, so that a change restarts the brokers, one after the other. */}}
{{- define "tokenbroker.config" -}}
{{ .Release.Name }}-{{ toYaml .Values.config | sha256sum | trunc 10 }}
{{- end }}
