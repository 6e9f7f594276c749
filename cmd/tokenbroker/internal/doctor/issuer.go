package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxDocument bounds the bytes that are read of an answer.
const maxDocument = 1 << 20

func itoa(n int) string { return strconv.Itoa(n) }

// document fetches a JSON document into the value that into points to, and returns the answer's header. The
// header is nil if there was no answer.
func document(ctx context.Context, s Subject, url string, into any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return resp.Header, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err != nil {
		return resp.Header, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return resp.Header, fmt.Errorf("%s is not JSON: %w", url, err)
	}
	return resp.Header, nil
}

type discovery struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
}

type keySet struct {
	Keys []map[string]any `json:"keys"`
}

// issuer fetches the documents that services and browsers fetch from the public URL. It reports in answered
// whether there was any answer.
func issuer(ctx context.Context, s Subject) (found []Finding, answered bool) {
	hint := "services and browsers reach the broker by public_url: check DNS, the proxy and its certificate"
	var doc discovery
	if header, err := document(ctx, s, s.Issuer+"/.well-known/openid-configuration", &doc); err != nil {
		return []Finding{{"issuer", Fail, err.Error(), hint}}, header != nil
	}
	if doc.Issuer != s.Issuer {
		return []Finding{{"issuer", Fail, fmt.Sprintf("the discovery document names %q, not %q", doc.Issuer, s.Issuer),
			"public_url must be exactly the URL that the proxy serves"}}, true
	}
	return []Finding{
		{Check: "issuer", Level: OK, Detail: doc.Issuer},
		keys(ctx, s, "jwks", doc.JWKSURI),
		keys(ctx, s, "feed keys", s.Issuer+"/revocations/jwks.json"),
	}, true
}

// keys checks one JWK set: it must have keys, and no private ones.
func keys(ctx context.Context, s Subject, name, url string) Finding {
	var set keySet
	header, err := document(ctx, s, url, &set)
	switch {
	case err != nil:
		return Finding{name, Fail, err.Error(), "services cannot validate tokens without it: check the proxy's paths"}
	case len(set.Keys) == 0:
		return Finding{name, Fail, url + " has no keys", "see the broker's log"}
	}
	for _, k := range set.Keys {
		if _, private := k["d"]; private {
			return Finding{name, Fail, url + " publishes a private key", "this is not the broker's document: check what the proxy serves"}
		}
	}
	cache := header.Get("Cache-Control")
	if !strings.Contains(cache, "max-age=") {
		return Finding{name, Warn, fmt.Sprintf("%s, Cache-Control %q", keyCount(len(set.Keys)), cache), "the proxy changes the cache header: services may refetch too often or too late"}
	}
	return Finding{Check: name, Level: OK, Detail: keyCount(len(set.Keys)) + ", " + cache}
}

// The clock differences from which doctor warns, and from which tokens are refused.
const (
	clockWarn = 5 * time.Second
	clockFail = 60 * time.Second
)

// clock compares this machine's clock with those of the broker and of the providers.
func clock(ctx context.Context, s Subject) []Finding {
	var found []Finding
	if s.Status != nil {
		found = append(found, compare("clock: broker", s.Status.Now.Sub(s.Now()), 0))
	}
	for _, p := range s.Providers {
		sent := s.Now()
		var doc discovery
		header, err := document(ctx, s, discoveryURL(p.Issuer), &doc)
		if header == nil {
			continue // the check of the provider reports it
		}
		theirs, dateErr := http.ParseTime(header.Get("Date"))
		if err := errors.Join(err, dateErr); err != nil {
			continue
		}
		// The header has whole seconds, and the answer took some time.
		found = append(found, compare("clock: "+p.Name, theirs.Sub(sent), time.Second+s.Now().Sub(sent)))
	}
	if len(found) == 0 {
		return []Finding{{"clock", Skip, "there is no clock to compare this machine's clock with", "start the broker, or configure a provider"}}
	}
	return found
}

func compare(name string, off, slack time.Duration) Finding {
	off = off.Round(100 * time.Millisecond)
	detail := off.String() + " from this machine's"
	hint := "run an NTP client (chrony, systemd-timesyncd) on both machines"
	switch beyond := off.Abs() - slack; {
	case beyond > clockFail:
		return Finding{name, Fail, detail, hint}
	case beyond > clockWarn:
		return Finding{name, Warn, detail, hint}
	}
	return Finding{Check: name, Level: OK, Detail: detail}
}

func discoveryURL(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

const providerHint = "check region, user_pool or issuer, and the outgoing connections of this network; password sign-in works without the provider"

// providers checks each provider's documents.
func providers(ctx context.Context, s Subject) []Finding {
	found := make([]Finding, 0, len(s.Providers))
	for _, p := range s.Providers {
		found = append(found, provider(ctx, p))
	}
	return found
}

func provider(ctx context.Context, p Upstream) Finding {
	name := "provider " + p.Name
	report, err := p.Check(ctx)
	if err != nil {
		return Finding{name, Fail, err.Error(), providerHint}
	}
	detail := keyCount(report.Usable)
	if report.Issuer != p.Issuer {
		detail += " of " + report.Issuer
	}
	if report.Unfit != "" {
		return Finding{name, Warn, detail + "; not usable: " + report.Unfit, "tokens that the provider signs with these keys are refused"}
	}
	if strings.HasPrefix(report.Issuer, "http:") {
		return Finding{name, Warn, report.Issuer + " is not https", "a provider on this machine is for development only"}
	}
	return Finding{Check: name, Level: OK, Detail: detail}
}

func keyCount(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}
