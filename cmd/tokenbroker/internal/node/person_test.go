package node_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// person is a browser and its user, ada, at the pages of a broker.
type person struct {
	t      *testing.T
	issuer string
	client *http.Client
}

func newPerson(t *testing.T, issuer string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t, issuer, &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is what a browser shows: a page of the broker, or, without a body, the address outside of the broker that it was sent to.
type page struct {
	at   *url.URL
	body string
}

// open goes to an address of the broker and follows redirects within it.
func (p *person) open(address string) page {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.follow(req)
}

func (p *person) follow(req *http.Request) page {
	p.t.Helper()
	for range 10 {
		resp, err := p.client.Do(req)
		if err != nil {
			p.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		if resp.StatusCode/100 != 3 {
			if resp.StatusCode != http.StatusOK {
				p.t.Fatalf("%s %s: %d %s", req.Method, req.URL, resp.StatusCode, body)
			}
			return page{req.URL, string(body)}
		}
		to, err := resp.Location()
		if err != nil {
			p.t.Fatal(err)
		}
		if !strings.HasPrefix(to.String(), p.issuer+"/") {
			return page{at: to}
		}
		if req, err = http.NewRequestWithContext(p.t.Context(), http.MethodGet, to.String(), nil); err != nil {
			p.t.Fatal(err)
		}
	}
	p.t.Fatal("more than ten redirects")
	return page{}
}

// press sends the form of a page with a button, as a browser does. typed are the contents of its fields.
func (p *person) press(on page, button string, typed url.Values) page {
	p.t.Helper()
	doc, err := html.Parse(strings.NewReader(on.body))
	if err != nil {
		p.t.Fatal(err)
	}
	form, pressed := formOf(doc, button)
	if form == nil {
		p.t.Fatalf("no button %s on the page %s: %s", button, on.at, on.body)
	}
	values := url.Values{}
	for n := range form.Descendants() {
		if n.Data == "input" && attribute(n, "name") != "" {
			values.Add(attribute(n, "name"), attribute(n, "value"))
		}
	}
	for name, value := range typed {
		values[name] = value
	}
	if name := attribute(pressed, "name"); name != "" {
		values.Set(name, attribute(pressed, "value"))
	}
	action, err := on.at.Parse(attribute(form, "action"))
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, action.String(), strings.NewReader(values.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.issuer)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.follow(req)
}

// signIn fills the sign-in page in.
func (p *person) signIn(on page) page {
	p.t.Helper()
	return p.press(on, "submit", url.Values{"username": {"ada"}, "password": {"lovelace"}})
}

// formOf returns the form that the button of that id sends.
func formOf(doc *html.Node, id string) (form, button *html.Node) {
	for n := range doc.Descendants() {
		if n.Data == "button" && attribute(n, "id") == id {
			for up := n; up != nil; up = up.Parent {
				if up.Data == "form" {
					return up, n
				}
			}
		}
	}
	return nil, nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// oauthAnswer is the JSON answer of an endpoint of OAuth.
type oauthAnswer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a oauthAnswer) text(name string) string {
	text, _ := a.body[name].(string)
	return text
}

// postForm sends a form to an endpoint of OAuth. headers are "Name: value" lines.
func postForm(t *testing.T, address string, form url.Values, headers ...string) oauthAnswer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return sendForAnswer(t, req, headers...)
}

func getAnswer(t *testing.T, address string, headers ...string) oauthAnswer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sendForAnswer(t, req, headers...)
}

func sendForAnswer(t *testing.T, req *http.Request, headers ...string) oauthAnswer {
	t.Helper()
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := oauthAnswer{status: resp.StatusCode, header: resp.Header}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &a.body); err != nil {
			t.Fatalf("%s: %d %s: %v", req.URL, resp.StatusCode, body, err)
		}
	}
	return a
}

func basic(id, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// claimsIn returns the claims of a token without a check.
func claimsIn(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a token", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
