package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
)

// limited reads at most maxAnswer of an answer, and reads it as JSON if it begins like a JSON
// object: all answers that the broker uses are one. Their Content-Type does not matter, as
// issuers name a key set application/jwk-set+json, text/plain, text/javascript or nothing, and
// x/oauth2 would take text/plain for a form. A byte order mark in front is ignored (RFC 8259 §8.1).
type limited struct{ next http.RoundTripper }

var errTooLarge = errors.New("the answer is too large")

// RoundTrip implements [http.RoundTripper].
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxAnswer {
		_ = resp.Body.Close()
		return nil, errTooLarge
	}
	body := &limitedBody{body: resp.Body, left: maxAnswer}
	begin := bufio.NewReader(body)
	first, _ := begin.Peek(64) // an error comes again at the next read
	if bom := []byte("\ufeff"); bytes.HasPrefix(first, bom) {
		_, _ = begin.Discard(len(bom))
		first = first[len(bom):]
	}
	if bytes.HasPrefix(bytes.TrimLeft(first, " \t\r\n"), []byte("{")) {
		resp.Header.Set("Content-Type", "application/json")
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{begin, resp.Body}
	return resp, nil
}

// limitedBody fails, instead of ending, at its limit.
type limitedBody struct {
	body io.Reader
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
