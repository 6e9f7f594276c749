package interop

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// browser fills the broker's pages as a person does: it finds the controls by their ids.
type browser struct {
	client         *http.Client
	user, password string
	consents       int // how often a client was allowed
}

// newBrowser returns a browser that stops before a redirect to a URL that begins with stopAt.
func newBrowser(t *testing.T, s *server, stopAt string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{user: s.user, password: s.password, client: &http.Client{
		Transport: s.client.Transport, Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
			if stopAt != "" && strings.HasPrefix(req.URL.String(), stopAt) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

// page is an answer with its parsed document.
type page struct {
	*http.Response
	body string
	root *html.Node
}

func (b *browser) send(t *testing.T, req *http.Request) *page {
	t.Helper()
	res, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return &page{res, string(body), root}
}

func (b *browser) get(t *testing.T, to string) *page {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.send(t, req)
}

// signIn goes to a URL that leads to the authorization endpoint, signs in unless that was done before, and consents. It returns the
// page after that, or the redirect that the browser stopped at.
func (b *browser) signIn(t *testing.T, to string) *page {
	t.Helper()
	p := b.get(t, to)
	if p.find("username") != nil {
		p = b.submit(t, p, "submit", map[string]string{"username": b.user, "password": b.password})
	}
	if p.find("consent-allow") != nil {
		b.consents++
		p = b.submit(t, p, "consent-allow", nil)
	}
	return p
}

// authorize is signIn for a client's authorization request. It returns the authorization response.
func (b *browser) authorize(t *testing.T, to string) *url.URL {
	t.Helper()
	p := b.signIn(t, to)
	answer, err := p.Location()
	if err != nil {
		t.Fatalf("%s: %v: %d\n%s", p.Request.URL, err, p.StatusCode, p.body)
	}
	return answer
}

// submit sends the form of the button with that id, with the texts by the ids of their inputs.
func (b *browser) submit(t *testing.T, p *page, button string, texts map[string]string) *page {
	t.Helper()
	pressed := p.find(button)
	if pressed == nil {
		t.Fatalf("%s has no #%s (status %d):\n%s", p.Request.URL, button, p.StatusCode, p.body)
	}
	form := pressed
	for form != nil && form.Data != "form" {
		form = form.Parent
	}
	values := url.Values{}
	walk(form, func(n *html.Node) {
		if name := attr(n, "name"); name != "" && (n.Data == "input" || n == pressed) {
			values.Set(name, attr(n, "value"))
			if text, ok := texts[attr(n, "id")]; ok {
				values.Set(name, text)
			}
		}
	})
	action, err := p.Request.URL.Parse(attr(form, "action"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(attr(form, "method")), action.String(), strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", fmt.Sprintf("%s://%s", p.Request.URL.Scheme, p.Request.URL.Host))
	return b.send(t, req)
}

// find returns the element with that id, or nil.
func (p *page) find(id string) (found *html.Node) {
	walk(p.root, func(n *html.Node) {
		if attr(n, "id") == id {
			found = n
		}
	})
	return found
}

func walk(n *html.Node, visit func(*html.Node)) {
	if n.Type == html.ElementNode {
		visit(n)
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		walk(child, visit)
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
