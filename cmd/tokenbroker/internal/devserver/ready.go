package devserver

import (
	"fmt"
	"strings"
	"text/template"
)

// readyText is what [Run] prints when everything answers. The lines can be pasted.
var readyText = template.Must(template.New("ready").Funcs(template.FuncMap{"join": strings.Join}).Parse(`
{{if .Degraded}}tokenbroker is ready, but degraded:
{{range .Degraded}}
  {{.}}{{end}}
{{else}}tokenbroker is ready.
{{end}}
  broker          {{.Broker}} (open it in a browser; on localhost also)
  your SPA        http://localhost:PORT or http://127.0.0.1:PORT, any port{{range .Origins}}, {{.}}{{end}}
  sample service  {{.Sample}}/hello (also at {{join .OtherSamples " and "}})
  admin           {{.Admin}}/metrics (bearer token in {{.TokenFile}})
  NATS            {{.NATS}}
  Cognito (dev)   {{.IDP}} (admin / admin, ada / ada)
  user            {{.User}} / {{.Password}}
  OAuth clients   {{.Native}}, and any that registers itself or has a metadata document (docs/guides/mcp.md)
  operators       tokenbroker status, users, sessions, revoke, doctor (they find this server)
  data            {{.DataDir}}{{if .Temporary}} (removed at the end; keep it with --data-dir){{end}}
  version         {{.Version}}

Try it in another terminal:

  BROKER={{.Broker}} SAMPLE={{.Sample}}
  curl -s -c jar --location --request POST "$BROKER/auth/sign-in/" --header 'Content-Type: application/json' --data-raw '{"username": "{{.User}}", "password": "{{.Password}}"}' | tee answer.json
  TOKEN=$(sed 's/.*"access_token":"\([^"]*\)".*/\1/' answer.json); CSRF=$(sed 's/.*"CSRF_token":"\([^"]*\)".*/\1/' answer.json)
  curl -s -i -H "Authorization: Bearer $TOKEN" "$SAMPLE/hello"
  curl -s -b jar -c jar --location --request POST "$BROKER/auth/refresh/" --header 'Content-Type: application/json' --data-raw "{\"CSRF_token\": \"$CSRF\"}"
  curl -s -b jar -c jar --location --request POST "$BROKER/auth/logoff/?wait=2s" --header 'Content-Type: application/json' --data-raw "{\"CSRF_token\": \"$CSRF\"}"
  curl -s -i -H "Authorization: Bearer $TOKEN" "$SAMPLE/hello"

  # a token for a machine, and a code flow of an app, in which curl is the browser (docs/oauth.md)
  curl -s -u {{.Service}}:{{.ServiceSecret}} -d grant_type=client_credentials -d scope={{.Scope}} "$BROKER/oauth2/token"
  VERIFIER=$(openssl rand -hex 32); CHALLENGE=$(printf %s "$VERIFIER" | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d '=')
  CSRF=$(curl -s -c jar "$BROKER/auth/sign-in/" --header 'Content-Type: application/json' --data-raw '{"username": "{{.User}}", "password": "{{.Password}}"}' | sed 's/.*"CSRF_token":"\([^"]*\)".*/\1/')
  QUERY="client_id={{.Native}}&redirect_uri=http://127.0.0.1/callback&response_type=code&scope=openid+{{.Scope}}&code_challenge=$CHALLENGE&code_challenge_method=S256"
  echo "a browser opens $BROKER/auth/authorize?$QUERY"
  CODE=$(curl -s -b jar -o /dev/null -w '%{redirect_url}' "$BROKER/auth/authorize/consent" --data-urlencode "query=$QUERY" -d "csrf=$CSRF" -d 'scope=openid {{.Scope}}' -d decision=allow | sed 's/.*[?&]code=\([^&]*\).*/\1/')
  curl -s "$BROKER/oauth2/token" -d grant_type=authorization_code -d client_id={{.Native}} -d redirect_uri=http://127.0.0.1/callback -d "code_verifier=$VERIFIER" -d "code=$CODE"

{{with .Processes}}{{$first := index .Brokers 0}}These processes run behind {{$.Broker}}, which is a proxy that sends each request to the next broker:

{{range .Brokers}}  {{printf "%-9s" .Name}} pid {{printf "%-8d" .PID}} {{.URL}} (admin {{.Admin}})
{{end}}{{range .Etcd}}  {{printf "%-9s" .Name}} pid {{printf "%-8d" .PID}} {{.URL}} (a member of the etcd cluster)
{{end}}
Kill one, and see that nothing happens. This signs in, and then refreshes and calls the sample service every half second:

  BROKER={{$.Broker}} SAMPLE={{$.Sample}}
  curl -s -c jar "$BROKER/auth/sign-in/" --header 'Content-Type: application/json' --data-raw '{"username": "{{$.User}}", "password": "{{$.Password}}"}' > answer.json
  CSRF=$(sed 's/.*"CSRF_token":"\([^"]*\)".*/\1/' answer.json)
  for i in $(seq 600); do
    curl -s -o answer.json -w 'refresh %{http_code}, ' -b jar -c jar "$BROKER/auth/refresh/" --header 'Content-Type: application/json' --data-raw "{\"CSRF_token\": \"$CSRF\"}"
    NEW=$(sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' answer.json); TOKEN=${NEW:-$TOKEN}
    curl -s -o /dev/null -w 'hello %{http_code}\n' -H "Authorization: Bearer $TOKEN" "$SAMPLE/hello"
    sleep 0.5
  done

Then kill any of the processes in another terminal, such as kill -9 {{$first.PID}} for {{$first.Name}}. The loop goes on with "refresh 200, hello 200".
A refresh that was on its way to the killed broker shows 502, and the next one succeeds. {{if eq (len .Brokers) 1}}With one broker, refreshes show 503
until it runs again. {{end}}{{if eq (len .Etcd) 1}}{{(index .Etcd 0).Name}} is the only member of its cluster: without it
refreshes show 503, and hello stays 200 for 30 seconds. With --brokers 3 there are three members.{{else}}Of {{len .Etcd}} etcd members, one may be missing;
with two missing, refreshes show 503, and hello stays 200 for 30 seconds.{{end}}
{{if $.RestartAfter}}What ended is started again after {{$.RestartAfter}}.{{else}}What ended stays down; --restart-after 5s starts it again.{{end}} The list is also in {{$.DataDir}}/{{$.ProcessesFile}}.

{{end}}Stop with Ctrl-C.

`))

// banner is what differs between one broker and several.
type banner struct {
	Broker, Admin, TokenFile, NATS string
	Degraded                       []string
	// Processes are those of several brokers, or nil.
	Processes *listed
}

// printReady prints readyText.
func (r *run) printReady(b banner) error {
	urls := r.samples.urls()
	err := readyText.Execute(r.Stdout, map[string]any{
		"Broker": b.Broker, "Sample": urls[0], "OtherSamples": urls[1:],
		"Admin": b.Admin, "TokenFile": b.TokenFile, "NATS": b.NATS, "IDP": r.emulator.issuer(),
		"User": User, "Password": Password, "DataDir": r.dataDir, "Temporary": r.DataDir == "", "Version": r.Version, "Origins": r.Origins,
		"Service": ServiceClient, "ServiceSecret": ServiceSecret, "Native": NativeClient, "Scope": Scope,
		"Degraded": b.Degraded, "Processes": b.Processes, "RestartAfter": r.RestartAfter, "ProcessesFile": ProcessesFile,
	})
	if err != nil {
		return fmt.Errorf("printing the addresses: %w", err)
	}
	return nil
}
