// Package look is how the broker's pages look: their layout and style, and the name, colours, logo and texts that an
// operator replaced.
package look

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // layout and style
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:embed layout.html
var layout string

//go:embed style.css
var style string

// base has the layout, which each page completes with its template main.
var base = template.Must(template.New("layout").Parse(layout))

// Path is the path below which the images of the pages are, and LogoPath and DarkLogoPath are those of the logos.
const (
	Path         = "/auth/pages"
	LogoPath     = Path + "/logo"
	DarkLogoPath = Path + "/logo-dark"
)

// Look is the look of all pages. It is immutable.
type Look struct {
	// Name is the name of the service or its operator, and Language the language of the texts (BCP 47).
	Name, Language string
	// SupportURL is where people get help. If empty, the pages have no such link.
	SupportURL string
	// Logos are the images at [LogoPath] and [DarkLogoPath], by path.
	Logos map[string]Image

	texts     map[string]string
	style     string
	styleHash string // as in a content security policy
}

// Image is a logo.
type Image struct {
	ContentType string
	Body        []byte
}

// Default returns the look without replacements.
func Default() *Look {
	l := &Look{Name: "Sign-in service", Language: "en", texts: defaultTexts}
	l.setColors(defaultColors)
	return l
}

func (l *Look) setColors(c colors) {
	l.style = c.css() + style
	sum := sha256.Sum256([]byte(l.style))
	l.styleHash = "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Style returns the style of the pages.
func (l *Look) Style() template.CSS { return template.CSS(l.style) } //nolint:gosec // embedded, with colours that were parsed

// Logo returns the path of the logo, or "".
func (l *Look) Logo() string { return l.logoAt(LogoPath) }

// DarkLogo returns the path of the logo on dark cards, or "".
func (l *Look) DarkLogo() string { return l.logoAt(DarkLogoPath) }

func (l *Look) logoAt(path string) string {
	if _, ok := l.Logos[path]; ok {
		return path
	}
	return ""
}

// Initial returns the first letter of the name, in upper case.
func (l *Look) Initial() string { return Initial(l.Name) }

// Initial returns the first letter or digit of a name in upper case, or "" if it has none.
func Initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return ""
}

// Provider returns the name of a sign-in provider for people: the operator's, or its name in the configuration with its first
// letter in upper case.
func (l *Look) Provider(name string) string {
	if text, ok := l.Replaced("provider." + name); ok {
		return text
	}
	_, size := utf8.DecodeRuneInString(name)
	return strings.ToUpper(name[:size]) + name[size:]
}

// Plain returns the text of a key. After the key come pairs of a placeholder's name and its value.
func (l *Look) Plain(key string, pairs ...string) string {
	return l.fill(key, pairs, func(value string) string { return value })
}

// Text returns the text of a key as HTML. After the key come pairs of a placeholder's name and its value, which
// is emphasised and isolated from the direction of the text around it.
func (l *Look) Text(key string, pairs ...string) template.HTML {
	return template.HTML(l.fill(key, pairs, func(value string) string { //nolint:gosec // text and values are escaped
		return "<strong><bdi>" + template.HTMLEscapeString(value) + "</bdi></strong>"
	}, template.HTMLEscapeString))
}

func (l *Look) fill(key string, pairs []string, show func(string) string, escape ...func(string) string) string {
	text, ok := l.texts[key]
	if !ok {
		panic("look: no text has the key " + key)
	}
	for _, f := range escape {
		text = f(text)
	}
	var old []string
	for i := 0; i+1 < len(pairs); i += 2 {
		old = append(old, "{"+pairs[i]+"}", show(pairs[i+1]))
	}
	return strings.NewReplacer(old...).Replace(text)
}

// Replaced returns the operator's text of a key that has no text by default.
func (l *Look) Replaced(key string) (string, bool) {
	text, ok := l.texts[key]
	return text, ok
}

// Policy returns the content security policy of a page: its style, images of the broker, no frames, and what more
// names.
func (l *Look) Policy(more string) string {
	return "default-src 'none'; style-src " + l.styleHash + "; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; " + more
}

// Page is what every page has.
type Page struct {
	Title string
	// Refresh is where the page leads at once, or empty.
	Refresh string
	// Code and RequestID help support to find a refusal. They are shown if Code is not empty.
	Code, RequestID string
	// Data is the content for the page's own template.
	Data any
}

// Parse returns the template of a page from the text of its template main.
func Parse(main string) (*template.Template, error) {
	t, err := base.Clone()
	if err != nil {
		return nil, fmt.Errorf("copying the layout: %w", err)
	}
	return t.Parse(`{{define "main"}}` + main + `{{end}}`)
}

// Render renders a page.
func (l *Look) Render(t *template.Template, p Page) ([]byte, error) {
	var b bytes.Buffer
	err := t.Execute(&b, struct {
		Page
		Look *Look
	}{p, l})
	if err != nil {
		return nil, fmt.Errorf("rendering a page: %w", err)
	}
	return b.Bytes(), nil
}
