package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"tokenbroker/broker"
)

const goodDocument = `{"client_id":"https://app.example.com/client.json","client_name":"<Ä>"}`

// documents returns a Documents that trusts the certificate of srv, which may be nil.
func documents(t *testing.T, srv *httptest.Server, cfg DocumentsConfig) *Documents {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := NewDocuments(cfg)
	t.Cleanup(d.Close)
	if srv != nil && srv.TLS != nil {
		d.transport.guarded.TLSClientConfig = &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	}
	return d
}

// answer returns a handler that answers with JSON, or with the headers of the pairs.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header()[headers[i]] = nil
			if headers[i+1] != "" {
				w.Header()[headers[i]] = strings.Split(headers[i+1], "|")
			}
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

// TestAnswersThatAreNotDocuments asks real servers, by https and by http.
func TestAnswersThatAreNotDocuments(t *testing.T) {
	bomb := zipped(`{"a":"` + strings.Repeat("a", 50<<20) + `"}`)
	full := `{"a":"` + strings.Repeat("a", maxDocument-8) + `"}`
	refused, down := broker.ErrClientDocument, broker.ErrUpstreamUnavailable
	hang := func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // do not complete the answer
	}
	cases := map[string]struct {
		handler http.HandlerFunc
		want    error
		says    string
	}{
		"good":                       {answer(200, goodDocument), nil, ""},
		"good, with a charset":       {answer(200, goodDocument, "Content-Type", "Application/JSON; charset=utf-8"), nil, ""},
		"good, of another JSON type": {answer(200, goodDocument, "Content-Type", "application/vnd.example+json"), nil, ""},
		"good, with white space":     {answer(200, "\r\n\t "+goodDocument+"\n"), nil, ""},
		"good, identity":             {answer(200, goodDocument, "Content-Encoding", "identity"), nil, ""},
		"good, of the largest size":  {answer(200, full), nil, ""},

		"too large": {answer(200, full+" "), refused, "larger than 16384 bytes"},
		"too large, without a length": {func(w http.ResponseWriter, r *http.Request) {
			answer(200, full)(w, r)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte(" "))
		}, refused, "larger than 16384 bytes"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			answer(200, `{"a":"`)(w, r)
			for {
				if _, err := w.Write(bytes.Repeat([]byte("a"), 4096)); err != nil {
					return
				}
			}
		}, refused, "larger than 16384 bytes"},
		"gzip":                    {answer(200, zipped(goodDocument), "Content-Encoding", "gzip"), refused, "Content-Encoding"},
		"gzip bomb":               {answer(200, bomb, "Content-Encoding", "gzip"), refused, "Content-Encoding"},
		"gzip bomb in pieces":     {answer(200, bomb[:1<<10], "Content-Encoding", "identity|do-not-show", "Content-Length", ""), refused, "Content-Encoding"},
		"gzip that is not stated": {answer(200, zipped(goodDocument)), refused, "not UTF-8"},
		"HTML":                    {answer(200, "<html>", "Content-Type", "text/do-not-show"), refused, "Content-Type"},
		"HTML as JSON":            {answer(200, "<html>do-not-show"), refused, "not JSON"},
		"no type":                 {answer(200, goodDocument, "Content-Type", ""), refused, "is not application/json"},
		"two types":               {answer(200, goodDocument, "Content-Type", "application/json|application/json"), refused, "is not application/json"},
		"list of types":           {answer(200, goodDocument, "Content-Type", "application/json, text/html"), refused, "is not application/json"},
		"text/json":               {answer(200, goodDocument, "Content-Type", "text/json"), refused, "is not application/json"},
		"+json":                   {answer(200, goodDocument, "Content-Type", "application/+json"), refused, "is not application/json"},
		"image/svg+json":          {answer(200, goodDocument, "Content-Type", "image/x+json"), refused, "is not application/json"},
		"bad type":                {answer(200, goodDocument, "Content-Type", "application/json; a"), refused, "is not application/json"},
		"array":                   {answer(200, "["+goodDocument+"]"), refused, "not a JSON object"},
		"string":                  {answer(200, `"{}"`), refused, "not a JSON object"},
		"null":                    {answer(200, `null`), refused, "not a JSON object"},
		"empty":                   {answer(200, ""), refused, "not JSON"},
		"two objects":             {answer(200, "{}{}"), refused, "not JSON"},
		"text after it":           {answer(200, "{}<script>"), refused, "not JSON"},
		"half":                    {answer(200, goodDocument[:20]), refused, "not JSON"},
		"byte order mark":         {answer(200, "\ufeff"+goodDocument), refused, "not JSON"},
		"not UTF-8":               {answer(200, "{\"a\":\"\xff\"}"), refused, "not UTF-8"},
		"UTF-16":                  {answer(200, "{\x00}\x00"), refused, "not JSON"},

		"304 that was not asked for": {answer(304, ""), refused, "redirects (status 304)"},
		"bad Location":               {answer(302, goodDocument, "Location", "http://[:::/"), refused, "redirects (status 302)"},
		"no Location":                {answer(302, goodDocument), refused, "redirects (status 302)"},
		"connection that breaks": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			answer(200, goodDocument)(w, r)
		}, down, "unexpected EOF"},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("220 mail.example.com ESMTP\r\n"))
				_ = conn.Close()
			}
		}, down, "malformed HTTP"},
		"large headers": {answer(200, goodDocument, "X-Large", strings.Repeat("x", 32<<10)), down, "headers exceeded"},
		"no answer":     {hang, down, "deadline exceeded"},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			answer(200, `{"a":`)(w, r)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}, down, "deadline exceeded"},
	}
	for _, status := range []int{201, 202, 204, 206, 400, 401, 403, 404, 410, 451} {
		cases[fmt.Sprint("status ", status)] = struct {
			handler http.HandlerFunc
			want    error
			says    string
		}{answer(status, ""), refused, fmt.Sprintf("status of its URL is %d", status)}
	}
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		cases[fmt.Sprint("status ", status)] = struct {
			handler http.HandlerFunc
			want    error
			says    string
		}{answer(status, goodDocument, "Location", "/good"), refused, fmt.Sprintf("redirects (status %d)", status)}
	}
	for _, status := range []int{429, 500, 502, 503, 504, 599} {
		cases[fmt.Sprint("status ", status)] = struct {
			handler http.HandlerFunc
			want    error
			says    string
		}{answer(status, goodDocument), down, fmt.Sprintf("status %d", status)}
	}
	mux := http.NewServeMux()
	for name, c := range cases {
		mux.HandleFunc("/"+strings.ReplaceAll(name, " ", "-"), c.handler)
	}
	for scheme, srv := range map[string]*httptest.Server{"https": httptest.NewTLSServer(mux), "http": httptest.NewServer(mux)} {
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		defer srv.Close()
		for name, c := range cases {
			cfg := DocumentsConfig{InsecureLoopback: true}
			if strings.HasPrefix(c.says, "deadline") {
				cfg.Timeout = 100 * time.Millisecond
			}
			d := documents(t, srv, cfg)
			got, err := d.Document(t.Context(), srv.URL+"/"+strings.ReplaceAll(name, " ", "-")+"?password=do-not-show")
			switch {
			case c.want == nil && (err != nil || !json.Valid(got)):
				t.Errorf("%s, %s: %v", scheme, name, err)
			case c.want != nil && (!errors.Is(err, c.want) || errors.Is(err, refused) == errors.Is(err, down) || !strings.Contains(err.Error(), c.says) || got != nil):
				t.Errorf("%s, %s: %q %v", scheme, name, got, err)
			case err != nil && strings.Contains(err.Error(), "do-not-show"):
				t.Errorf("%s, %s: the error shows the URL or the answer: %v", scheme, name, err)
			}
			if d.kept.Len() != map[bool]int{true: 1}[c.want == nil] {
				t.Errorf("%s, %s: %d documents are kept", scheme, name, d.kept.Len())
			}
			if limits := d.transport.sender.(*hostLimits); limits.running != 0 {
				t.Errorf("%s, %s: %d requests are left", scheme, name, limits.running)
			}
		}
	}
}

// TestRequestsOfDocuments checks what a host learns.
func TestRequestsOfDocuments(t *testing.T) {
	var mu sync.Mutex
	var requests []http.Header
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.RequestURI != "/client.json?a=b" || r.ContentLength != 0 || r.ProtoMajor != 1 {
			t.Errorf("%s %s %s", r.Method, r.RequestURI, r.Proto)
		}
		mu.Lock()
		requests = append(requests, r.Header)
		mu.Unlock()
		answer(200, goodDocument, "Set-Cookie", "a=b; Secure", "Cache-Control", "no-cache", "Etag", `"1"`)(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	d := documents(t, srv, DocumentsConfig{InsecureLoopback: true})
	for range 2 {
		if got, err := d.Document(t.Context(), srv.URL+"/client.json?a=b"); err != nil || string(got) != goodDocument {
			t.Fatalf("%s %v", got, err)
		}
	}
	want := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "User-Agent": {"tokenbroker"}, "Connection": {"close"}}
	mu.Lock()
	defer mu.Unlock()
	for i, headers := range requests {
		if i == 1 {
			want["If-None-Match"] = []string{`"1"`}
		}
		if !maps.EqualFunc(want, headers, func(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }) {
			t.Errorf("request %d: %v, want %v", i, headers, want)
		}
	}
}

// TestURLsOfDocumentsThatAreRefused has URLs that must not be requested: a listener on this machine gets no connection, whether a URL
// has its address, or a name that resolves to it.
func TestURLsOfDocumentsThatAreRefused(t *testing.T) {
	port, connections := server(t)
	urls := []string{
		"", "x", "/client.json", "http://example.com/c", "HTTP://example.com/c", "ftp://example.com/c", "file:///etc/passwd", "https:opaque",
		"https:///c", "https://u:do-not-show@example.com/c", "https://do-not-show@localhost/c", "https://example.com/c#f", "https://example.com/c#",
		"https://example.com/" + strings.Repeat("c", 512), "https://exa mple.com/c", "https://example.com:port/c", "https://\x00/c",
	}
	for _, host := range nearHosts {
		urls = append(urls, "https://"+host+":"+port+"/c", "https://"+host+"/c", "http://"+host+"/c")
	}
	near := []string{"https://app.example.com/c", "https://app.example.com:" + port + "/c"}
	for _, host := range loopbackHosts {
		near = append(near, "https://"+host+":"+port+"/c", "http://"+host+":"+port+"/c")
	}
	for _, loopback := range []bool{false, true} {
		d := documents(t, nil, DocumentsConfig{InsecureLoopback: loopback})
		to := "localhost:" + port
		d.transport.guarded.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.transport.dial(ctx, network, to)
		}
		all := urls
		if !loopback {
			all = append(all, near...)
		}
		for _, u := range all {
			got, err := d.Document(t.Context(), u)
			if !errors.Is(err, broker.ErrClientDocument) || errors.Is(err, broker.ErrUpstreamUnavailable) || got != nil {
				t.Errorf("loopback %t, %q: %v", loopback, u, err)
			} else if strings.Contains(err.Error(), "do-not-show") {
				t.Errorf("the error shows the URL: %v", err)
			}
		}
		for _, host := range []string{"10.0.0.5", "169.254.169.254", "[::ffff:192.168.0.1]", "0.0.0.0", "[fe80::1%25lo]"} {
			to = strings.Replace(host, "%25", "%", 1) + ":" + port
			_, err := d.Document(t.Context(), "https://app.example.com/c")
			if !errors.Is(err, broker.ErrClientDocument) || strings.Contains(err.Error(), to) {
				t.Errorf("loopback %t, a name with the address %s: %v", loopback, to, err)
			}
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestNameThatResolvesToAnotherAddressLater checks the address of each connection, and that a document is not used any more whose host
// moved to an address that is not allowed.
func TestNameThatResolvesToAnotherAddressLater(t *testing.T) {
	srv := httptest.NewTLSServer(answer(200, goodDocument, "Cache-Control", "no-cache"))
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	id := "https://example.com:" + port + "/client.json" // the name in the certificate
	for _, address := range []string{"10.0.0.5", "169.254.169.254", "0.0.0.0"} {
		d := documents(t, srv, DocumentsConfig{InsecureLoopback: true})
		var to atomic.Value
		to.Store("127.0.0.1")
		d.transport.resolver = dns(t, func(string) []string { return []string{to.Load().(string)} })
		if _, err := d.Document(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		to.Store(address)
		if _, err := d.Document(t.Context(), id); !errors.Is(err, broker.ErrClientDocument) || strings.Contains(err.Error(), address) || d.kept.Len() != 0 {
			t.Errorf("%v, %d documents are kept", err, d.kept.Len())
		}
		to.Store("127.0.0.1")
		if _, err := d.Document(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	// Without InsecureLoopback, a name of this machine is refused too.
	d := documents(t, srv, DocumentsConfig{})
	d.transport.resolver = dns(t, func(string) []string { return []string{"127.0.0.1"} })
	if _, err := d.Document(t.Context(), id); !errors.Is(err, broker.ErrClientDocument) {
		t.Errorf("a name with a loopback address: %v", err)
	}
}

// TestCertificateOfADocumentsHost checks that a host whose certificate is not valid counts as one that does not answer.
func TestCertificateOfADocumentsHost(t *testing.T) {
	srv := httptest.NewTLSServer(answer(200, goodDocument))
	defer srv.Close()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	d := documents(t, nil, DocumentsConfig{InsecureLoopback: true})
	if _, err := d.Document(t.Context(), srv.URL+"/c"); !errors.Is(err, broker.ErrUpstreamUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

// TestDocumentsBehindAProxy checks that a proxy of the environment gets names, but no addresses that are not public.
func TestDocumentsBehindAProxy(t *testing.T) {
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.Host
		asked.Store(&text)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	d := documents(t, nil, DocumentsConfig{})
	d.transport.proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	for _, host := range append(nearHosts, loopbackHosts...) {
		if _, err := d.Document(t.Context(), "https://"+host+"/c"); !errors.Is(err, broker.ErrClientDocument) || asked.Load() != nil {
			t.Fatalf("%s: %v", host, err)
		}
	}
	_, err := d.Document(t.Context(), "https://app.example.com/c")
	if got := asked.Load(); !errors.Is(err, broker.ErrUpstreamUnavailable) || got == nil || *got != "CONNECT app.example.com:443" {
		t.Errorf("the proxy was asked %v: %v", got, err)
	}
}

// TestCloseEndsRequestsOfDocuments waits for the goroutine of a request to a host that does not answer.
func TestCloseEndsRequestsOfDocuments(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	d := NewDocuments(DocumentsConfig{Timeout: time.Hour, Logger: slog.New(slog.DiscardHandler), Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		defer close(ended)
		close(asked)
		<-r.Context().Done()
		return nil, r.Context().Err()
	})})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := d.Document(t.Context(), "https://app.example.com/c"); !errors.Is(err, broker.ErrUpstreamUnavailable) {
			t.Errorf("during Close: %v", err)
		}
	})
	<-asked
	d.Close()
	select {
	case <-ended:
	default:
		t.Error("Close did not wait for the request")
	}
	wg.Wait()
	if _, err := d.Document(t.Context(), "https://app.example.com/c"); !errors.Is(err, broker.ErrUpstreamUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// FuzzDocumentHeaders checks for any headers that a lifetime is in its limits, and that a directive no-store is never missed.
func FuzzDocumentHeaders(f *testing.F) {
	for _, control := range []string{
		"", "max-age=60", "public, max-age=0, must-revalidate", "no-store", "No-Store , max-age=9", `private="a, b", max-age="6\0"`, `x="no-store"`,
		"max-age=99999999999999999999", "max-age=-1", "s-maxage=1,max-age=2", "max-age=1;no-store", `a="`, "=", ",,,", "max-age=1, max-age=2",
	} {
		f.Add(control, "Fri, 01 Jan 9999 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "5", "*", []byte("{}"))
	}
	f.Add("", "0", "x", "99999999999999999999", "Accept", []byte("[]"))
	f.Add("", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 00:00:00 GMT", "", "", []byte("{\"a\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, control, expires, date, age, vary string, body []byte) {
		now := time.Unix(1_800_000_000, 0)
		headers := http.Header{"Cache-Control": {control}, "Vary": {vary}}
		for name, value := range map[string]string{"Expires": expires, "Date": date, "Age": age} {
			if value != "" {
				headers[name] = []string{value}
			}
		}
		life, keep := lifeOf(headers, now.Add(-time.Second), now)
		if life < 0 || life > maxDocumentAge || !keep && life != 0 {
			t.Errorf("life %s, keep %t", life, keep)
		}
		found, valid := cacheControl([]string{control})
		if keep && found.has("no-store") {
			t.Error("an answer with no-store is kept")
		}
		// A simple list has the same directives in another form.
		if valid && !strings.ContainsAny(control, `"\`) {
			simple := directives{}
			for _, directive := range strings.Split(strings.ToLower(control), ",") {
				name, argument, _ := strings.Cut(strings.Trim(directive, " \t"), "=")
				if before, twice := simple[name]; twice && before != argument {
					argument = "ambiguous"
				}
				if name != "" {
					simple[name] = argument
				}
			}
			for name := range found {
				if !simple.has(name) || simple.seconds(name) != found.seconds(name) {
					t.Errorf("%s: %q, want %q", name, found[name], simple[name])
				}
			}
			if len(simple) != len(found) {
				t.Errorf("%q, want %q", found, simple)
			}
		}
		var object map[string]any
		if err := checkBody(body); (err == nil) != (len(body) <= maxDocument && utf8.Valid(body) && json.Unmarshal(body, &object) == nil && object != nil) {
			t.Errorf("%q: %v", body, err)
		}
	})
}
