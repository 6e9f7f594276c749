package pages

import (
	"embed"
	"html/template"

	"tokenbroker/api/look"
)

//go:embed templates/*.html
var templates embed.FS

var (
	signInPage    = mustParse("sign-in")
	consentPage   = mustParse("consent")
	logoutPage    = mustParse("logout")
	signedOutPage = mustParse("signed-out")
	formPostPage  = mustParse("form-post")
	leavePage     = mustParse("leave")
	bouncePage    = mustParse("bounce")
)

func mustParse(name string) *template.Template {
	text, err := templates.ReadFile("templates/" + name + ".html")
	if err != nil {
		panic(err)
	}
	return template.Must(look.Parse(string(text)))
}
