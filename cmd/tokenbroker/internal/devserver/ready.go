package devserver

import (
	"fmt"
	"strings"
	"text/template"

	"tokenbroker/cmd/tokenbroker/internal/node"
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
  admin           {{.Admin}}/metrics (bearer token in {{.DataDir}}/{{.TokenFile}})
  NATS            {{.NATS}}
  Cognito (dev)   {{.IDP}} (admin / admin, ada / ada)
  user            {{.User}} / {{.Password}}
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

Stop with Ctrl-C.

`))

// printReady prints readyText.
func printReady(opts Options, n *node.Node, degraded, sampleURLs []string, emulatorURL, dataDir string) error {
	err := readyText.Execute(opts.Stdout, map[string]any{
		"Broker": n.Issuer(), "Sample": sampleURLs[0], "OtherSamples": sampleURLs[1:],
		"Admin": n.AdminURL(), "TokenFile": node.AdminTokenFile, "NATS": n.NATSURL(), "IDP": emulatorURL,
		"User": User, "Password": Password, "DataDir": dataDir, "Temporary": opts.DataDir == "", "Version": opts.Version, "Origins": opts.Origins, "Degraded": degraded,
	})
	if err != nil {
		return fmt.Errorf("printing the addresses: %w", err)
	}
	return nil
}
