package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

const documentID = "https://app.test/client.json"

// site serves documents without a network, so that it can run in a synctest bubble.
type site struct {
	mu       sync.Mutex
	requests []*http.Request
	serve    http.HandlerFunc // nil is a host that cannot be reached
	logs     strings.Builder
}

// RoundTrip implements [http.RoundTripper].
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	serve := s.serve
	s.mu.Unlock()
	if serve == nil {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	serve(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (s *site) set(serve http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = serve
}

func (s *site) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// sends returns a handler of a JSON answer with the headers of the pairs.
func sends(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (s *site) documents(t *testing.T, cfg upstream.DocumentsConfig) *upstream.Documents {
	t.Helper()
	cfg.Transport, cfg.Logger = s, slog.New(slog.NewTextHandler(&s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d := upstream.NewDocuments(cfg)
	t.Cleanup(d.Close)
	return d
}

// want reads the document and checks it. A version is of the form {"v":version}. If err is not nil, it is the error.
func want(t *testing.T, d *upstream.Documents, id, document string, err error) {
	t.Helper()
	got, failed := d.Document(t.Context(), id)
	if string(got) != document || !errors.Is(failed, err) {
		t.Errorf("%s: %q %v, want %q %v", id, got, failed, document, err)
	}
}

// TestDocumentsAreKeptAsTheirHeadersSay checks how long a document is used without a request (RFC 9111 §4.2).
func TestDocumentsAreKeptAsTheirHeadersSay(t *testing.T) {
	const day = 24 * time.Hour
	at := func(d time.Duration) string {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d).Format(http.TimeFormat) // the start of a bubble
	}
	for name, c := range map[string]struct {
		headers []string
		life    time.Duration
	}{
		"no headers":              {nil, 5 * time.Minute},
		"no lifetime":             {[]string{"Cache-Control", "public, x=y"}, 5 * time.Minute},
		"max-age":                 {[]string{"Cache-Control", "public, max-age=600"}, 10 * time.Minute},
		"max-age, quoted":         {[]string{"Cache-Control", `Max-Age="6\00" , private="a, max-age=1"`}, 10 * time.Minute},
		"max-age and s-maxage":    {[]string{"Cache-Control", "max-age=600, s-maxage=60"}, time.Minute},
		"max-age in two lines":    {[]string{"Cache-Control", "public", "Cache-Control", "max-age=600"}, 10 * time.Minute},
		"max-age and Expires":     {[]string{"Cache-Control", "max-age=600", "Expires", at(time.Minute)}, 10 * time.Minute},
		"max-age and Age":         {[]string{"Cache-Control", "max-age=600", "Age", "500"}, 100 * time.Second},
		"an Age that is a list":   {[]string{"Cache-Control", "max-age=600", "Age", "500, 1"}, 100 * time.Second},
		"an invalid Age":          {[]string{"Cache-Control", "max-age=600", "Age", "-5"}, 10 * time.Minute},
		"an Age beyond max-age":   {[]string{"Cache-Control", "max-age=600", "Age", "99999999999999999999"}, 0},
		"no lifetime, but an Age": {[]string{"Age", "240"}, time.Minute},
		"an old Date":             {[]string{"Cache-Control", "max-age=600", "Date", at(-5 * time.Minute)}, 5 * time.Minute},
		"a Date in the future":    {[]string{"Cache-Control", "max-age=600", "Date", at(time.Hour)}, 10 * time.Minute},
		"an invalid Date":         {[]string{"Cache-Control", "max-age=600", "Date", "yesterday"}, 10 * time.Minute},
		"Expires":                 {[]string{"Expires", at(time.Minute)}, time.Minute},
		"Expires and Date":        {[]string{"Expires", at(time.Hour), "Date", at(-time.Minute)}, time.Hour},
		"Expires in the past":     {[]string{"Expires", at(-time.Minute)}, 0},
		"an invalid Expires":      {[]string{"Expires", "0"}, 0},
		"two Expires":             {[]string{"Expires", at(time.Minute), "Expires", at(time.Hour)}, 0},
		"longer than a day":       {[]string{"Cache-Control", "max-age=31536000, immutable"}, day},
		"too large a number":      {[]string{"Cache-Control", "max-age=99999999999999999999999"}, day},
		"Expires in 9999":         {[]string{"Expires", "Fri, 31 Dec 9999 23:59:59 GMT"}, day},
		"an extreme Expires":      {[]string{"Expires", "Mon, 01 Jan 0001 00:00:00 GMT", "Date", "Fri, 31 Dec 9999 23:59:59 GMT", "Age", "5"}, 0},
		"max-age=0":               {[]string{"Cache-Control", "max-age=0"}, 0},
		"an invalid max-age":      {[]string{"Cache-Control", "max-age=1h"}, 0},
		"a negative max-age":      {[]string{"Cache-Control", "max-age=-1"}, 0},
		"max-age without a value": {[]string{"Cache-Control", "max-age"}, 0},
		"two max-age":             {[]string{"Cache-Control", "max-age=60, max-age=600"}, 0},
		"a syntax error":          {[]string{"Cache-Control", "max-age=600; public"}, 0},
		"an open quote":           {[]string{"Cache-Control", `max-age=600, a="`}, 0},
		"no-cache":                {[]string{"Cache-Control", "max-age=600, no-cache"}, 0},
		"no-cache of a field":     {[]string{"Cache-Control", `max-age=600, no-cache="set-cookie"`}, 0},
		"no-store":                {[]string{"Cache-Control", "max-age=600, No-Store"}, 0},
		"no-store, syntax error":  {[]string{"Cache-Control", "no-store; max-age=600"}, 0},
		"Vary: *":                 {[]string{"Cache-Control", "max-age=600", "Vary", "Accept, *"}, 0},
		"Vary":                    {[]string{"Cache-Control", "max-age=600", "Vary", "Accept"}, 10 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &site{serve: sends(200, `{"v":1}`, c.headers...)}
			d := s.documents(t, upstream.DocumentsConfig{})
			want(t, d, documentID, `{"v":1}`, nil)
			if c.life > 0 {
				time.Sleep(c.life - time.Second)
				want(t, d, documentID, `{"v":1}`, nil)
				if s.asked() != 1 {
					t.Errorf("%s: %d requests before its end", name, s.asked())
				}
				time.Sleep(time.Second)
			}
			s.set(sends(200, `{"v":2}`))
			want(t, d, documentID, `{"v":2}`, nil)
			if s.asked() != 2 {
				t.Errorf("%s: %d requests after its end", name, s.asked())
			}
			// Only a document that must not be kept is not used while its host is down.
			s.set(sends(200, `{"v":3}`, c.headers...))
			time.Sleep(5 * time.Minute)
			want(t, d, documentID, `{"v":3}`, nil)
			s.set(nil)
			time.Sleep(c.life)
			if strings.HasPrefix(name, "no-store") {
				want(t, d, documentID, "", broker.ErrUpstreamUnavailable)
			} else if c.life < day {
				want(t, d, documentID, `{"v":3}`, nil)
			}
		})
	}
}

// TestDocumentsAreConfirmedByTheirHost checks conditional requests (RFC 9111 §4.3).
func TestDocumentsAreConfirmedByTheirHost(t *testing.T) {
	for name, c := range map[string]struct {
		tag, modified         string
		wantTag, wantModified string
	}{
		"tag":              {tag: `"a"`, wantTag: `"a"`},
		"weak tag":         {tag: `W/"a!~"`, wantTag: `W/"a!~"`},
		"time":             {modified: "Sat, 01 Jan 2000 00:00:00 GMT", wantModified: "Sat, 01 Jan 2000 00:00:00 GMT"},
		"both":             {tag: `""`, modified: "Sat, 01 Jan 2000 00:00:00 GMT", wantTag: `""`, wantModified: "Sat, 01 Jan 2000 00:00:00 GMT"},
		"neither":          {},
		"bad tag":          {tag: `a`},
		"tag with a quote": {tag: `"a"b"`},
		"tag of one quote": {tag: `"`},
		"tag with control": {tag: "\"a\x01\""},
		"long tag":         {tag: `"` + strings.Repeat("a", 300) + `"`},
		"bad time":         {modified: "today"},
	} {
		synctest.Test(t, func(t *testing.T) {
			headers := []string{"Cache-Control", "max-age=70", "Age", "10"} // the Age is not that of later answers
			if c.tag != "" {
				headers = append(headers, "ETag", c.tag)
			}
			if c.modified != "" {
				headers = append(headers, "Last-Modified", c.modified)
			}
			s := &site{serve: sends(200, `{"v":1}`, headers...)}
			d := s.documents(t, upstream.DocumentsConfig{})
			want(t, d, documentID, `{"v":1}`, nil)
			s.set(func(w http.ResponseWriter, r *http.Request) {
				if tag, modified := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since"); tag != c.wantTag || modified != c.wantModified {
					t.Errorf("%s: If-None-Match %q, If-Modified-Since %q", name, tag, modified)
				}
				w.WriteHeader(http.StatusNotModified)
			})
			time.Sleep(time.Minute)
			if c.wantTag+c.wantModified == "" {
				want(t, d, documentID, "", broker.ErrClientDocument)
				return
			}
			want(t, d, documentID, `{"v":1}`, nil) // for another 70 seconds, by the old headers
			time.Sleep(69 * time.Second)
			want(t, d, documentID, `{"v":1}`, nil)
			if s.asked() != 2 {
				t.Errorf("%s: %d requests", name, s.asked())
			}
			s.set(sends(304, "", "Cache-Control", "max-age=600", "Age", "60"))
			time.Sleep(time.Second)
			want(t, d, documentID, `{"v":1}`, nil) // for 540 seconds, by the new ones
			time.Sleep(539 * time.Second)
			want(t, d, documentID, `{"v":1}`, nil)
			if s.asked() != 3 {
				t.Errorf("%s: %d requests", name, s.asked())
			}
			s.set(sends(304, "", "Cache-Control", "no-store"))
			time.Sleep(time.Second)
			want(t, d, documentID, `{"v":1}`, nil)
			s.set(nil)
			want(t, d, documentID, "", broker.ErrUpstreamUnavailable)
		})
	}
}

func TestErrorsOfDocumentsAreNotKept(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"down": nil, "unavailable": sends(503, "", "Cache-Control", "max-age=600", "Retry-After", "600"),
		"not found": sends(404, "{}", "Cache-Control", "max-age=600"), "not JSON": sends(200, "x", "Cache-Control", "max-age=600"),
	} {
		s := &site{serve: serve}
		d := s.documents(t, upstream.DocumentsConfig{})
		wanted := broker.ErrUpstreamUnavailable
		if strings.HasPrefix(name, "not ") {
			wanted = broker.ErrClientDocument
		}
		want(t, d, documentID, "", wanted)
		want(t, d, documentID, "", wanted)
		s.set(sends(200, `{"v":1}`))
		want(t, d, documentID, `{"v":1}`, nil)
		if s.asked() != 3 {
			t.Errorf("%s: %d requests", name, s.asked())
		}
	}
}

func TestLastDocumentIsUsedWhileItsHostIsDown(t *testing.T) {
	hangs := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, serve := range map[string]http.HandlerFunc{
		"down": nil, "busy": sends(429, ""), "broken": sends(500, ""), "unavailable": sends(503, "{}"), "hanging": hangs,
	} {
		for _, control := range []string{"max-age=60", "no-cache", "max-age=0, must-revalidate"} {
			synctest.Test(t, func(t *testing.T) {
				s := &site{serve: sends(200, `{"v":1}`, "Cache-Control", control)}
				d := s.documents(t, upstream.DocumentsConfig{})
				want(t, d, documentID, `{"v":1}`, nil)
				s.set(serve)
				time.Sleep(time.Minute)
				for range 100 {
					want(t, d, documentID, `{"v":1}`, nil)
				}
				if s.asked() != 2 {
					t.Errorf("%s: %d requests", name, s.asked())
				}
				for range 3 { // further attempts do not delay callers
					time.Sleep(20 * time.Second)
					start := time.Now()
					want(t, d, documentID, `{"v":1}`, nil)
					if took := time.Since(start); took > 250*time.Millisecond {
						t.Errorf("%s: %s", name, took)
					}
				}
				if s.asked() != 5 {
					t.Errorf("%s: %d requests", name, s.asked())
				}
				s.set(sends(200, `{"v":2}`, "Cache-Control", control)) // up again
				time.Sleep(20 * time.Second)
				want(t, d, documentID, `{"v":2}`, nil)
				s.set(serve)
				time.Sleep(23 * time.Hour)
				want(t, d, documentID, `{"v":2}`, nil)
				time.Sleep(time.Hour)
				want(t, d, documentID, "", broker.ErrUpstreamUnavailable)
				if logs := s.logs.String(); strings.Contains(logs, "WARN") || !strings.Contains(logs, "host=app.test path=/client.json") {
					t.Errorf("%s: logs\n%.1000s", name, logs)
				}
			})
		}
	}
}

// TestOtherAnswersEndTheUseOfADocument checks that the last document is not used after them, even if the host is down later.
func TestOtherAnswersEndTheUseOfADocument(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"404": sends(404, ""), "410": sends(410, ""), "redirect": sends(302, "", "Location", documentID), "array": sends(200, "[]"),
		"HTML": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "large": sends(200, `{"a":"`+strings.Repeat("a", 1<<15)+`"}`),
		"content": sends(200, `{"v":"bad"}`),
	} {
		s := &site{serve: sends(200, `{"v":1}`, "Cache-Control", "no-cache", "ETag", `"1"`)}
		d := s.documents(t, upstream.DocumentsConfig{Check: refusesBad})
		want(t, d, documentID, `{"v":1}`, nil)
		s.set(serve)
		want(t, d, documentID, "", broker.ErrClientDocument)
		s.set(nil)
		want(t, d, documentID, "", broker.ErrUpstreamUnavailable)
		if s.requests[1].Header.Get("If-None-Match") == "" || s.requests[2].Header.Get("If-None-Match") != "" {
			t.Errorf("%s: the last document was kept", name)
		}
	}
}

var errBad = errors.New("its v is bad")

func refusesBad(url string, body []byte) error {
	if url != documentID || strings.Contains(string(body), "bad") {
		return errBad
	}
	return nil
}

func TestDocumentsWithBadContentAreNotKept(t *testing.T) {
	s := &site{serve: sends(200, `{"v":"bad"}`, "Cache-Control", "max-age=600")}
	d := s.documents(t, upstream.DocumentsConfig{Check: refusesBad})
	want(t, d, documentID, "", broker.ErrClientDocument)
	want(t, d, documentID, "", errBad)
	s.set(sends(200, `{"v":1}`, "Cache-Control", "max-age=600"))
	want(t, d, documentID, `{"v":1}`, nil)
	want(t, d, documentID+"?2", "", errBad)
	if s.asked() != 4 {
		t.Errorf("%d requests", s.asked())
	}
}

// TestCallersShareARequest checks that each respects its own context, and that the request outlives the caller that began it.
func TestCallersShareARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		s := &site{serve: func(w http.ResponseWriter, r *http.Request) {
			<-answer
			sends(200, `{"v":1}`, "Cache-Control", "no-store")(w, r)
		}}
		d := s.documents(t, upstream.DocumentsConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := d.Document(ctx, documentID); !errors.Is(err, broker.ErrUpstreamUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("the canceled caller: %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			wg.Go(func() { want(t, d, documentID, `{"v":1}`, nil) })
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(answer)
		wg.Wait()
		if s.asked() != 1 {
			t.Errorf("%d requests", s.asked())
		}
		want(t, d, documentID, `{"v":1}`, nil)
		if s.asked() != 2 {
			t.Errorf("%d requests, although the document must not be kept", s.asked())
		}
	})
}

// TestTimeOutOfADocument includes the body.
func TestTimeOutOfADocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{}
		d := upstream.NewDocuments(upstream.DocumentsConfig{Logger: slog.New(slog.DiscardHandler), Transport: slowBody{s}})
		defer d.Close()
		start := time.Now()
		want(t, d, documentID, "", broker.ErrUpstreamUnavailable)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("after %s", took)
		}
	})
}

// slowBody sends a space each second, without end.
type slowBody struct{ *site }

func (s slowBody) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(2500 * time.Millisecond)
	reader, writer := io.Pipe()
	context.AfterFunc(r.Context(), func() { _ = writer.CloseWithError(r.Context().Err()) })
	go func() {
		for {
			if _, err := writer.Write([]byte(" ")); err != nil {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
				return
			}
		}
	}()
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: reader, ContentLength: -1}, nil
}

func TestHostsOfDocuments(t *testing.T) {
	s := &site{serve: sends(200, `{"v":1}`)}
	d := s.documents(t, upstream.DocumentsConfig{Hosts: []string{"other.test", "App.test"}})
	want(t, d, documentID, `{"v":1}`, nil)
	want(t, d, "https://app.test:8443/c", `{"v":1}`, nil)
	for _, id := range []string{"https://a.app.test/c", "https://app.test.evil.test/c", "https://evil.test/app.test", "https://app.test./c", "https://8.8.8.8/c"} {
		want(t, d, id, "", broker.ErrClientDocument)
	}
	if s.asked() != 2 {
		t.Errorf("%d requests", s.asked())
	}
}

// At most 1,024 documents are kept.
func TestDocumentsAreBounded(t *testing.T) {
	s := &site{serve: sends(200, `{"v":1}`)}
	d := s.documents(t, upstream.DocumentsConfig{})
	for n := range 1025 {
		want(t, d, fmt.Sprintf("https://h%d.test/c", n), `{"v":1}`, nil)
	}
	want(t, d, "https://h1024.test/c", `{"v":1}`, nil)
	if s.asked() != 1025 {
		t.Errorf("%d requests", s.asked())
	}
	want(t, d, "https://h0.test/c", `{"v":1}`, nil)
	if s.asked() != 1026 {
		t.Errorf("%d requests; the first document was still kept", s.asked())
	}
}

// TestHostOfDocumentsIsNotFlooded has strangers who name many URLs of a host. Its known document stays usable.
func TestHostOfDocumentsIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{serve: sends(200, `{"v":1}`, "Cache-Control", "no-cache")}
		d := s.documents(t, upstream.DocumentsConfig{})
		want(t, d, documentID, `{"v":1}`, nil)
		refused := 0
		for n := range 1000 {
			_, err := d.Document(t.Context(), fmt.Sprintf("%s?%d", documentID, n))
			if errors.Is(err, broker.ErrUpstreamUnavailable) {
				refused++
			}
		}
		if refused != 1000-19 || s.asked() != 20 {
			t.Errorf("%d refused, %d requests", refused, s.asked())
		}
		s.set(sends(200, `{"v":2}`, "Cache-Control", "no-cache"))
		want(t, d, documentID, `{"v":2}`, nil) // the strangers did not use up the requests of a known document
		want(t, d, "https://other.test/c", `{"v":2}`, nil)
		time.Sleep(time.Second)
		want(t, d, documentID+"?new", `{"v":2}`, nil)
		want(t, d, documentID+"?newer", "", broker.ErrUpstreamUnavailable)

		// Hosts that do not answer occupy at most 24 requests. 8 others are for known documents.
		s.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		time.Sleep(time.Hour)
		before := s.asked()
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() { want(t, d, fmt.Sprintf("https://h%d.test/c", n), "", broker.ErrUpstreamUnavailable) })
		}
		synctest.Wait()
		if n := s.asked() - before; n != 24 {
			t.Errorf("%d requests at once", n)
		}
		want(t, d, documentID, `{"v":2}`, nil) // although it had to be confirmed
		if n := s.asked() - before; n != 25 {
			t.Errorf("the known document was not asked for: %d", n)
		}
		wg.Wait()
	})
}

// TestLogsOfDocumentsAreShort checks that a URL's query is not logged, and its path only in part.
func TestLogsOfDocumentsAreShort(t *testing.T) {
	s := &site{serve: sends(404, "")}
	d := s.documents(t, upstream.DocumentsConfig{})
	want(t, d, "https://app.test/a%0Ab"+strings.Repeat("c", 300)+"?password=do-not-show", "", broker.ErrClientDocument)
	if logs := s.logs.String(); strings.Contains(logs, "do-not-show") || strings.Contains(logs, strings.Repeat("c", 101)) || !strings.Contains(logs, "a%0Ab") {
		t.Errorf("logs %s", logs)
	}
}
