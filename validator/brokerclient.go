package validator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	strictjson "github.com/go-jose/go-jose/v4/json"

	"tokenbroker/internal/httpclient"
	"tokenbroker/revocation"
)

const (
	documentTimeout  = 4 * time.Second
	maxDocumentBytes = 256 << 10
	maxTokenLife     = 366 * 24 * time.Hour
)

// brokerClient makes the HTTP requests to the broker. It does not follow redirects; each request
// ends with its context. It is safe for concurrent use.
type brokerClient struct {
	issuer      string // as configured
	base        string // issuer without a slash at the end
	client      Client
	http        *http.Client
	connections *httpclient.Connections // those of http
}

func newBrokerClient(issuer string, client Client, h *http.Client) *brokerClient {
	b := &brokerClient{issuer: issuer, base: strings.TrimRight(issuer, "/"), client: client}
	b.http, b.connections = httpclient.Renewable(h)
	return b
}

// renewAfter makes the next request use a new connection if err is not nil, so that a load balancer can choose another
// broker. One that is cut off from the store answers 503 on a connection that it keeps.
func (b *brokerClient) renewAfter(err error) {
	if err != nil {
		b.connections.Renew()
	}
}

// lastingError is an error that another attempt cannot change.
type lastingError struct{ error }

func (e lastingError) Unwrap() error { return e.error }

// lasting reports whether another attempt would fail for the same reason: the answer is a
// redirect or a refusal (RFC 9110 §15.4, §15.5) other than "later", it is not a broker's, or
// the peer's certificate is not valid.
func lasting(err error) bool {
	var answer *statusError
	if errors.As(err, &answer) {
		switch answer.code {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
			return false
		}
		return answer.code >= 300 && answer.code < 500
	}
	var content lastingError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &content) || errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
}

// statusError is an answer with another status than 200.
type statusError struct {
	address string
	code    int
	status  string
	hint    string
	// retryAfter is the delay that the broker asks for before the next attempt, or 0 if it names none.
	retryAfter time.Duration
}

// RetryAfter is used by [revocation.Tracker.CatchUpDone].
func (e *statusError) RetryAfter() time.Duration { return e.retryAfter }

func (e *statusError) Error() string { return e.address + " answers " + e.status + e.hint }

// codeOutdated is the code of a broker that does not answer requests of an earlier protocol.
const codeOutdated = "protocol_outdated"

// withoutQuery returns an address for an error. A position in its query is long, and changes with each attempt.
func withoutQuery(u *url.URL) string {
	address := *u
	address.RawQuery = ""
	return address.Redacted()
}

// expectOK returns an error for every status except 200.
func expectOK(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	e := &statusError{address: withoutQuery(resp.Request.URL), code: resp.StatusCode, status: resp.Status}
	switch {
	case e.code == http.StatusUnauthorized, e.code == http.StatusForbidden:
		e.hint = ": check the client's id and secret"
	case e.code == http.StatusNotFound:
		e.hint = ": check that Issuer is the broker's public_url"
	case e.code == http.StatusNotAcceptable && httpclient.ProblemCode(resp.Body) == codeOutdated:
		e.hint = fmt.Sprintf(" (%s): the brokers do not answer requests of protocol %d; update the validator, or check that no proxy removes the query", codeOutdated, revocation.Speaks)
	case e.code == http.StatusServiceUnavailable, e.code == http.StatusTooManyRequests:
		if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil && seconds > 0 {
			e.retryAfter = time.Duration(seconds) * time.Second
			e.hint = ": it asks for another try after " + e.retryAfter.String()
		}
	case e.code >= 300 && e.code < 400:
		e.hint = fmt.Sprintf(" to %.200q, which is not followed: Issuer has to be the broker's public_url", resp.Header.Get("Location"))
	}
	return e
}

// expectJSON returns an error for everything except a 200 with a JSON body.
func expectJSON(resp *http.Response) error {
	if err := expectOK(resp); err != nil {
		return err
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || (kind != "application/json" && kind != "application/jwk-set+json") {
		return lastingError{fmt.Errorf("%s answers with another content type than JSON: check that Issuer is the broker's public_url", resp.Request.URL.Redacted())}
	}
	return nil
}

// discovery contains the members of the issuer's metadata that are used here (OpenID Connect
// Discovery 1.0 §3).
type discovery struct {
	Issuer      string `json:"issuer"`
	JWKSURI     string `json:"jwks_uri"`
	MaxLifetime int64  `json:"access_token_max_lifetime"`
}

func (b *brokerClient) discover(ctx context.Context) (discovery, error) {
	var d discovery
	doc, err := b.fetchDocument(ctx, b.base+"/.well-known/openid-configuration", "")
	if err != nil {
		return d, err
	}
	if err := decodeJSON(doc.body, &d); err != nil {
		return d, err
	}
	if err := b.checkDiscovery(d); err != nil {
		return d, lastingError{err}
	}
	return d, nil
}

// checkDiscovery returns an error for metadata of another issuer.
func (b *brokerClient) checkDiscovery(d discovery) error {
	if d.Issuer != b.issuer {
		return fmt.Errorf("it is of issuer %.100q, want %q: Issuer has to be the broker's public_url to the letter", d.Issuer, b.issuer)
	}
	if d.MaxLifetime <= 0 || d.MaxLifetime > int64(maxTokenLife/time.Second) {
		return fmt.Errorf("access_token_max_lifetime is %d s: is it a tokenbroker's?", d.MaxLifetime)
	}
	issuer, err1 := url.Parse(d.Issuer)
	keys, err2 := url.Parse(d.JWKSURI)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("reading its addresses: %w", err)
	}
	if keys.Host == "" || keys.Scheme != "https" && keys.Scheme != issuer.Scheme {
		return fmt.Errorf("jwks_uri %.200q is not an address as safe as the issuer's", d.JWKSURI)
	}
	return nil
}

// document is one answer to a conditional GET (RFC 9110 §13.1.2).
type document struct {
	body      []byte
	etag      string
	store     string
	unchanged bool
}

func (b *brokerClient) fetchDocument(ctx context.Context, address, etag string) (document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return document{}, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return document{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if etag != "" && resp.StatusCode == http.StatusNotModified {
		return document{unchanged: true}, nil
	}
	if err := expectJSON(resp); err != nil {
		return document{}, err
	}
	body, err := readLimited(resp.Body, maxDocumentBytes)
	if err != nil {
		return document{}, fmt.Errorf("reading %s: %w", req.URL.Path, err)
	}
	return document{body: body, etag: resp.Header.Get("ETag")}, nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return body, err
}

func decodeJSON(body []byte, into any) error {
	if err := strictjson.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decoding JSON: %w", err)
	}
	return nil
}
