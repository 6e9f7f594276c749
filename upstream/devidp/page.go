package devidp

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

const loginStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;background:#eef1f6;color:#16191f;margin:0}` +
	`main{box-sizing:border-box;width:calc(100% - 2rem);max-width:26rem;margin:12vh auto;background:#fff;border-radius:.7rem;padding:2rem;box-shadow:0 8px 30px #0002}` +
	`h1{font-size:1.2rem;margin:0 0 .2rem}p{opacity:.75;margin:.2rem 0 1rem;font-size:.9rem}label{display:block;margin:.8rem 0 .2rem;font-size:.85rem}` +
	`input{font:inherit;color:inherit;background:none;width:100%;box-sizing:border-box;padding:.55rem .7rem;border:1px solid #7d8793;border-radius:.4rem}` +
	`button{font:inherit;width:100%;margin-top:1.2rem;padding:.6rem;border:0;border-radius:.4rem;background:#b34d00;color:#fff;cursor:pointer}` +
	`:focus-visible{outline:2px solid #c45500;outline-offset:2px}.bad{color:#b3261e;opacity:1}` +
	`@media(prefers-color-scheme:dark){body{background:#10141a;color:#e6e9ee}main{background:#1b212a;box-shadow:none}.bad{color:#ff8a80}}`

const loginIcon = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23b34d00'/%3E%3C/svg%3E"

var loginPage = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Sign in</title><link rel="icon" href="` + loginIcon + `"><style>` + loginStyle + `</style></head><body><main><h1>Sign in with your user pool</h1>
<p>A stand-in for Cognito's hosted UI. Try ada / ada.</p>{{with .Problem}}<p class="bad" role="alert">{{.}}</p>{{end}}
<form method="post" action="/login?{{.Query}}"><label for="u">Username</label><input id="u" name="username" value="{{.Username}}" autocomplete="username" autocapitalize="none" spellcheck="false"{{if not .Username}} autofocus{{end}} required>
<label for="p">Password</label><input id="p" name="password" type="password" autocomplete="current-password"{{if .Username}} autofocus{{end}} required><button>Sign in</button></form>
</main></body></html>
`))

// loginPolicy has no form-action: browsers apply it to each redirect after the form, and
// where the client sends the browser next is not known here.
var loginPolicy = func() string {
	sum := sha256.Sum256([]byte(loginStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
}()

// showLogin keeps the user name that was typed, if any, for the next try.
func showLogin(w http.ResponseWriter, req request, status int, username, problem string) {
	w.Header().Set("Content-Security-Policy", loginPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = loginPage.Execute(w, map[string]any{"Problem": problem, "Username": username, "Query": template.URL(req.query.Encode())}) //nolint:gosec // encoded a moment ago
}
