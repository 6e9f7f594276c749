package look_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/api/look"
)

const png = "\x89PNG\r\n\x1a\n..."

// directory returns a directory with files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadReplacesWhatIsGiven(t *testing.T) {
	l, err := look.Load(directory(t, map[string]string{
		"brand.yaml": `name: Beispiel & Söhne
language: de
support_url: mailto:hilfe@example.com
colors:
  accent: {light: "#7a1f5c", dark: "#ff9ad5"}
  background: {light: "#00205b"}
logo_dark: dark.png
texts:
  sign_in.lead: weiter zu {client}
  scope.orders: Bestellungen lesen
  provider.corp: Unser Konto
  error.invalid_redirect.title: Diese Anfrage ist ungültig
`,
		"logo.svg": `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>`, "dark.png": png,
	}))
	if err != nil {
		t.Fatal(err)
	}
	if l.Name != "Beispiel & Söhne" || l.Language != "de" || l.SupportURL != "mailto:hilfe@example.com" || l.Initial() != "B" {
		t.Errorf("%+v", l)
	}
	if l.Logo() != look.LogoPath || l.DarkLogo() != look.DarkLogoPath || l.Logos[look.LogoPath].ContentType != "image/svg+xml" || string(l.Logos[look.DarkLogoPath].Body) != png {
		t.Errorf("logos %v", l.Logos)
	}
	if got := l.Text("sign_in.lead", "client", "<Shop>"); got != "weiter zu <strong><bdi>&lt;Shop&gt;</bdi></strong>" {
		t.Errorf("text %q", got)
	}
	if got := l.Plain("sign_in.lead", "client", "<{client}>"); got != "weiter zu <{client}>" {
		t.Errorf("text %q", got)
	}
	for name, want := range map[string]string{"corp": "Unser Konto", "cognito": "Cognito", "élan": "Élan", "": ""} {
		if got := l.Provider(name); got != want {
			t.Errorf("the provider %q is shown as %q, want %q", name, got, want)
		}
	}
	if words, ok := l.Replaced("scope.orders"); !ok || words != "Bestellungen lesen" {
		t.Errorf("words %q", words)
	}
	if l.Plain("sign_in.title") != "Sign in" {
		t.Error("a text that is not replaced has changed")
	}
	style := string(l.Style())
	for _, part := range []string{"--accent:#7a1f5c;--on-accent:#ffffff;--page:#00205b;--on-page:#ffffff}", "--accent:#ff9ad5;--on-accent:#0c1224;--page:#101218;--on-page:#ffffff}"} {
		if !strings.Contains(style, part) {
			t.Errorf("the style lacks %s", part)
		}
	}
	if l.Policy("form-action 'none'") == look.Default().Policy("form-action 'none'") {
		t.Error("the policy has the hash of another style")
	}
}

func TestLoadOfNothingIsTheDefault(t *testing.T) {
	for _, dir := range []string{"", t.TempDir(), directory(t, map[string]string{"brand.yaml": "", "notes.txt": "x"})} {
		l, err := look.Load(dir)
		if err != nil || l.Name != look.Default().Name || l.Logo() != "" || l.Style() != look.Default().Style() {
			t.Errorf("%q: %+v, %v", dir, l, err)
		}
	}
}

func TestLoadNamesWhatIsWrong(t *testing.T) {
	for brand, want := range map[string]string{
		"nam: x":                              "brand.yaml: yaml: unmarshal errors:\n  line 1: field nam not found",
		"name: [x]":                           "brand.yaml: yaml: unmarshal errors:\n  line 1: cannot unmarshal",
		"name: \"a\\nb\"":                     "brand.yaml: name: the text has a control character",
		"name: " + strings.Repeat("a", 61):    "brand.yaml: name: the text is longer than 60 characters",
		"language: deutsch!":                  `brand.yaml: language: "deutsch!" is not a language tag; write one such as de or pt-BR`,
		"support_url: javascript:alert(1)":    `brand.yaml: support_url: "javascript:alert(1)" is not an https, http or mailto URL`,
		"support_url: /help":                  "is not an https, http or mailto URL",
		"colors: {accent: {light: red}}":      `brand.yaml: colors.accent.light: "red" is not a colour; write it as #rrggbb`,
		`colors: {accent: {dark: "#12345"}}`:  `colors.accent.dark: "#12345" is not a colour`,
		`colors: {accent: {dark: "#+12345"}}`: `colors.accent.dark: "#+12345" is not a colour`,
		`colors: {background: {dark: "#000000;}body{display:none"}}`: "colors.background.dark:",
		`colors: {accent: {light: "#ffee00"}}`:                       "colors.accent.light: #ffee00 has a contrast of 1.2 to the card (#ffffff); choose a colour with at least 3",
		"texts: {sign_in.titel: x}":                                  `brand.yaml: texts: no text has the key "sign_in.titel"; docs/pages.md has the list`,
		"texts: {sign_in.title: ''}":                                 "texts.sign_in.title: the text is empty; remove the key to keep the default",
		"texts: {sign_in.title: 'Hi {user}'}":                        "texts.sign_in.title: the text has no placeholder {user}",
		"texts: {sign_in.title: '" + strings.Repeat("a", 501) + "'}": "texts.sign_in.title: the text is longer than 500 characters",
		"logo: missing.png":                                          "logo: ",
		"logo: ../logo.png":                                          `logo: "../logo.png" is not the name of a file in the directory`,
		"logo: photo.gif":                                            "logo: photo.gif: a logo is a file .svg or .png",
		"logo: fake.png":                                             "logo: fake.png is not a PNG image",
		"logo: fake.svg":                                             "logo: fake.svg is not an SVG image",
		"logo: large.png":                                            "logo: large.png is larger than 256 KiB",
		"logo: link.png":                                             "logo: ",
		"logo_dark: real.png":                                        "brand.yaml: logo_dark needs a logo for light pages also; add logo",
	} {
		dir := directory(t, map[string]string{
			"brand.yaml": brand, "photo.gif": "GIF89a", "fake.png": "<svg", "fake.svg": png, "large.png": png + strings.Repeat("x", 256<<10), "real.png": png,
		})
		outside := directory(t, map[string]string{"secret.png": png})
		if err := os.Symlink(filepath.Join(outside, "secret.png"), filepath.Join(dir, "link.png")); err != nil {
			t.Fatal(err)
		}
		if _, err := look.Load(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%.60q: %v, want %q", brand, err, want)
		}
	}
	if _, err := look.Load(filepath.Join(t.TempDir(), "absent")); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("a missing directory: %v", err)
	}
}

// docs/pages.md lists every text with its default.
func TestDocsListEveryText(t *testing.T) {
	document, err := os.ReadFile("../../docs/pages.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+\\.?[a-z_.]*)` \\| (.+) \\|$").FindAllStringSubmatch(string(document), -1) {
		listed[row[1]] = row[2]
	}
	delete(listed, "brand.yaml") // the table of files has the same form
	if diff := cmp.Diff(look.DefaultTexts(), listed); diff != "" {
		t.Errorf("docs/pages.md differs (-texts +docs):\n%s", diff)
	}
}
