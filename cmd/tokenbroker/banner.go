package main

import (
	"fmt"
	"io"
	"strings"
	"text/template"

	"tokenbroker/cmd/tokenbroker/internal/node"
)

// bannerText is what dev prints once everything answers. The lines can be pasted.
var bannerText = template.Must(template.New("banner").Funcs(template.FuncMap{"join": strings.Join}).Parse(`
tokenbroker is ready.

  broker          {{.Broker}} (open it in a browser)
  sample service  {{.Sample}}/hello (also at {{join .OtherSamples " and "}})
  admin           {{.Admin}}/metrics (bearer token in {{.DataDir}}/{{.TokenFile}})
  NATS            {{.NATS}}
  Cognito (dev)   {{.IDP}} (admin / admin, ada / ada)
  user            {{.User}} / {{.Password}}
  operators       tokenbroker status, users, sessions, revoke, doctor (they find this server)
  data            {{.DataDir}}{{if .Temporary}} (removed at the end; keep it with --data-dir){{end}}
  version         {{.Version}}

Try it in another terminal:

  curl -s -c jar --location --request POST '{{.Address}}/auth/sign-in/' --header 'Content-Type: application/json' --data-raw '{"username": "{{.User}}", "password": "{{.Password}}"}' | tee answer.json
  TOKEN=$(sed 's/.*"access_token":"\([^"]*\)".*/\1/' answer.json); CSRF=$(sed 's/.*"CSRF_token":"\([^"]*\)".*/\1/' answer.json)
  curl -s -i -H "Authorization: Bearer $TOKEN" {{.Sample}}/hello
  curl -s -b jar -c jar --location --request POST '{{.Address}}/auth/refresh/' --header 'Content-Type: application/json' --data-raw "{\"CSRF_token\": \"$CSRF\"}"
  curl -s -b jar -c jar --location --request POST '{{.Address}}/auth/logoff/' --header 'Content-Type: application/json' --data-raw "{\"CSRF_token\": \"$CSRF\"}"
  curl -s -i -H "Authorization: Bearer $TOKEN" {{.Sample}}/hello

Stop with Ctrl-C.

`))

func printBanner(w io.Writer, n *node.Node, sampleURLs []string, idpURL, dataDir string, temporary bool) error {
	err := bannerText.Execute(w, map[string]any{
		"Broker": n.Issuer(), "Address": strings.TrimPrefix(n.Issuer(), "http://"), "Sample": sampleURLs[0], "OtherSamples": sampleURLs[1:],
		"Admin": n.AdminURL(), "TokenFile": node.AdminTokenFile, "NATS": n.NATSURL(), "IDP": idpURL,
		"User": devUser, "Password": devPassword, "DataDir": dataDir, "Temporary": temporary, "Version": version(),
	})
	if err != nil {
		return fmt.Errorf("printing the banner: %w", err)
	}
	return nil
}
