package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"tokenbroker/broker"
)

// fetch sends one request for a document. If last is not nil, its host may confirm it instead of sending it again. keep reports
// whether the document may be used without another request. An error wraps [broker.ErrClientDocument], or
// [broker.ErrUpstreamUnavailable] if the host did not answer.
func (d *Documents) fetch(ctx context.Context, id string, u *url.URL, last *document) (got *document, keep bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	if last != nil {
		ctx = context.WithValue(ctx, keptKey{}, true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, false, refusedDocument("its URL cannot be requested")
	}
	req.Header = http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"tokenbroker"}}
	if last != nil {
		last.addConditions(req.Header)
	}
	conditional := req.Header.Get("If-None-Match") != "" || req.Header.Get("If-Modified-Since") != ""
	requested := d.cfg.Now()
	// Not a http.Client, so that nothing follows a redirect, and errors do not contain the URL, whose query may be long or secret.
	resp, err := d.transport.sender.RoundTrip(req)
	if err != nil {
		return nil, false, d.unanswered(ctx, u, err)
	}
	defer func() { _ = resp.Body.Close() }()
	received := d.cfg.Now()
	if resp.StatusCode == http.StatusNotModified && conditional {
		got, keep = last.confirm(resp.Header, requested, received)
		return got, keep, nil
	}
	if err := checkAnswer(resp); err != nil {
		return nil, false, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, false, d.unanswered(ctx, u, err)
	}
	if err := checkBody(body); err != nil {
		return nil, false, err
	}
	if d.cfg.Check != nil {
		if err := d.cfg.Check(id, body); err != nil {
			return nil, false, fmt.Errorf("%w: %w", broker.ErrClientDocument, err)
		}
	}
	got, keep = newDocument(body, resp.Header, requested, received)
	return got, keep, nil
}

// unanswered returns the error of a request without an answer. That of an address that is not allowed does not contain the address,
// which strangers must not learn.
func (d *Documents) unanswered(ctx context.Context, u *url.URL, err error) error {
	if refused := new(addressError); errors.As(err, &refused) {
		d.cfg.Logger.InfoContext(ctx, "a client's metadata document has an address that is not allowed", "host", u.Host, "address", refused.address)
		return refusedDocument(notPublic)
	}
	return fmt.Errorf("%w: fetching the document: %w", broker.ErrUpstreamUnavailable, err)
}

// notPublic is why a document at an address that is not public is refused.
const notPublic = "its host does not have a public address"

// refusedDocument returns the error of a document that cannot be used. It is shown to users, so it must not contain text that the
// host of the document chose.
func refusedDocument(format string, args ...any) error {
	return fmt.Errorf("%w: %s", broker.ErrClientDocument, fmt.Sprintf(format, args...))
}

// checkAnswer refuses an answer by its status and headers.
func checkAnswer(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("%w: fetching the document: status %d", broker.ErrUpstreamUnavailable, code)
	case code >= 300 && code < 400:
		return refusedDocument("its URL redirects (status %d), which is not followed", code)
	case code != http.StatusOK:
		return refusedDocument("the status of its URL is %d; want 200", code)
	case !isJSON(resp.Header["Content-Type"]):
		return refusedDocument("its Content-Type is not application/json or application/*+json")
	case resp.ContentLength > maxDocument:
		return refusedDocument("it is larger than %d bytes", maxDocument)
	}
	for _, coding := range resp.Header["Content-Encoding"] {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return refusedDocument("it has a Content-Encoding, which the broker did not ask for")
		}
	}
	return nil
}

// isJSON reports whether a Content-Type is application/json, or has the suffix +json (RFC 6839 §3.1).
func isJSON(types []string) bool {
	if len(types) != 1 {
		return false
	}
	media, _, err := mime.ParseMediaType(types[0])
	subtype, ok := strings.CutPrefix(media, "application/")
	return err == nil && ok && (subtype == "json" || strings.HasSuffix(subtype, "+json") && len(subtype) > len("+json"))
}

func checkBody(body []byte) error {
	switch {
	case len(body) > maxDocument:
		return refusedDocument("it is larger than %d bytes", maxDocument)
	case !utf8.Valid(body):
		return refusedDocument("it is not UTF-8")
	case !json.Valid(body):
		return refusedDocument("it is not JSON")
	case !strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{"):
		return refusedDocument("it is not a JSON object")
	}
	return nil
}
