package node_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
)

const (
	get       = "GET /livez HTTP/1.1\r\n"
	host      = "Host: 127.0.0.1\r\n"
	sent      = "Content-Type: application/json\r\n"
	signIn    = "POST /auth/sign-in/ HTTP/1.1\r\n" + host + sent
	bodyLimit = 64 << 10
)

// TestOddRequests checks that requests that are too large or not supported HTTP are refused, and that
// their connection is closed if the rest of the request must not be read.
func TestOddRequests(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, nil)
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	if _, err := io.CopyN(zip, zeros{}, 32<<20); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	many := strings.Builder{}
	for i := range 1000 {
		fmt.Fprintf(&many, "X-%d: a\r\n", i)
	}
	large := strings.Repeat("a", httpserver.MaxHeaderBytes+8<<10)
	const odd = "Host: elsewhere.test\r\n"
	closed := map[int]bool{http.StatusRequestHeaderFieldsTooLarge: true, http.StatusRequestEntityTooLarge: true, http.StatusNotImplemented: true}
	for name, c := range map[string]struct {
		request string
		want    int
		code    string
	}{
		"a header over the limit":             {get + host + "X-Large: " + large + "\r\n\r\n", 431, ""},
		"a header without an end":             {get + host + "X-Large: " + large, 431, ""},
		"a cookie over the limit":             {get + host + "Cookie: refresh_cookie=" + large + "\r\n\r\n", 431, ""},
		"a request line over the limit":       {"GET /" + large + " HTTP/1.1\r\n" + host + "\r\n", 431, ""},
		"1,000 headers":                       {get + host + many.String() + "\r\n", 200, ""},
		"4,000 headers":                       {get + host + strings.Repeat(many.String(), 4) + "\r\n", 431, ""},
		"a long path within the limit":        {"GET /" + large[:8<<10] + " HTTP/1.1\r\n" + host + "\r\n", 404, "not_found"},
		"a body announced over the limit":     {signIn + "Content-Length: 1048576\r\n\r\n", 413, "body_too_large"},
		"a body over the limit, in chunks":    {signIn + "Transfer-Encoding: chunked\r\n\r\n" + chunked(bodyLimit+1024, ""), 413, "body_too_large"},
		"an endless chunk":                    {signIn + "Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n" + strings.Repeat(" ", bodyLimit+1), 413, "body_too_large"},
		"a whole body over the limit":         {signIn + fmt.Sprintf("Content-Length: %d\r\n\r\n", bodyLimit+1) + strings.Repeat(" ", bodyLimit+1), 413, "body_too_large"},
		"a body of the limit":                 {signIn + fmt.Sprintf("Content-Length: %d\r\n\r\n", bodyLimit) + strings.Repeat(" ", bodyLimit), 400, "invalid_body"},
		"a gzip bomb":                         {signIn + fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", bomb.Len()) + bomb.String(), 415, "unsupported_media_type"},
		"a gzip bomb that does not say so":    {signIn + fmt.Sprintf("Content-Length: %d\r\n\r\n", bomb.Len()) + bomb.String(), 400, "invalid_body"},
		"a gzip bomb as a transfer coding":    {signIn + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, ""},
		"an unknown transfer coding":          {signIn + "Transfer-Encoding: cow\r\n\r\n", 501, ""},
		"two lengths":                         {signIn + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, ""},
		"two lengths in one":                  {signIn + "Content-Length: 2, 3\r\n\r\n{}", 400, ""},
		"a negative length":                   {signIn + "Content-Length: -1\r\n\r\n", 400, ""},
		"a length with a sign":                {signIn + "Content-Length: +2\r\n\r\n{}", 400, ""},
		"HTTP/1.0":                            {"GET /livez HTTP/1.0\r\n\r\n", 200, ""},
		"HTTP/1.0 in chunks":                  {strings.Replace(signIn, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n" + chunked(2, "{}"), 400, ""},
		"HTTP/3.7":                            {"GET /livez HTTP/3.7\r\n" + host + "\r\n", 505, ""},
		"HTTP/2 without being asked":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "not_found"},
		"no protocol":                         {"GET /livez\r\n" + host + "\r\n", 400, ""},
		"a TLS hello":                         {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""},
		"no Host":                             {get + "\r\n", 400, ""},
		"two Hosts":                           {get + host + odd + "\r\n", 400, ""},
		"a Host that is none":                 {get + "Host: a b\r\n\r\n", 400, ""},
		"another Host":                        {get + odd + "\r\n", 200, ""},
		"an absolute form":                    {"GET http://elsewhere.test/livez HTTP/1.1\r\n" + host + "\r\n", 200, ""},
		"an authority form":                   {"CONNECT elsewhere.test:443 HTTP/1.1\r\n" + odd + "\r\n", 404, "not_found"},
		"an asterisk":                         {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 200, ""},
		"a space before the colon":            {get + host + "X-A : b\r\n\r\n", 400, ""},
		"a folded header":                     {get + host + "X-A: b\r\n c\r\n\r\n", 200, ""},
		"a NUL in a header":                   {get + host + "X-A: b\x00c\r\n\r\n", 400, ""},
		"an expectation that nobody can meet": {signIn + "Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn := l.listeners()["public"].dial(t)
			go conn.send(c.request)
			status, header, body, err := conn.reply(patience)
			if status != c.want || c.code != "" && !strings.Contains(body, `"code":"`+c.code+`"`) {
				t.Errorf("%d, want %d %s: %s %v", status, c.want, c.code, body, err)
			}
			if strings.Contains(body+fmt.Sprint(header), "elsewhere.test") {
				t.Errorf("the answer repeats what was asked: %s", body)
			}
			if closed[c.want] && (header.Get("Connection") != "close" || !conn.cut(patience)) {
				t.Error("the connection stays open")
			}
		})
	}
	l.checkStillServes()
}

// TestOneConnectionManyRequests checks that pipelined requests are answered in order, and that no
// bytes of a request with ambiguous framing are read as the next request.
func TestOneConnectionManyRequests(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, nil)
	const (
		hidden = "GET /hidden HTTP/1.1\r\n" + host + "\r\n"
		last   = get + host + "Connection: close\r\n\r\n"
	)
	for name, c := range map[string]struct {
		requests string
		want     []int
	}{
		"pipelined": {strings.Repeat(get+host+"\r\n", 2) + signIn + "Content-Length: 2\r\n\r\n{}" + hidden + last, []int{200, 200, 400, 404, 200}},
		// RFC 9112 §6.1: the chunks define the body, never the length.
		"both framings":                 {signIn + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", 5+len(hidden)) + "0\r\n\r\n" + last, []int{400, 200}},
		"a body on GET":                 {get + host + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden + last, []int{200, 200}},
		"a body that is refused unread": {"POST /auth/sign-in/ HTTP/1.1\r\n" + host + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden + last, []int{415, 200}},
		"two lengths":                   {signIn + fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(hidden)) + hidden, []int{400}},
		"a bad chunk":                   {signIn + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + hidden, []int{400}},
		"a body over the limit":         {signIn + "Transfer-Encoding: chunked\r\n\r\n" + chunked(bodyLimit+1, "") + hidden, []int{413}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := l.listeners()["public"].dial(t)
			go conn.send(c.requests)
			var got []int
			for status := 1; status != 0; {
				if status, _, _, _ = conn.reply(patience); status != 0 {
					got = append(got, status)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestOddRequestsOfOperators checks that the other listeners have the same limits.
func TestOddRequestsOfOperators(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, nil)
	large := strings.Repeat("a", httpserver.MaxHeaderBytes+8<<10)
	post := "POST /admin/v1/users HTTP/1.1\r\n" + host + sent
	for name, at := range l.listeners() {
		if name == "public" {
			continue
		}
		for request, want := range map[string][]int{
			get + host + "X-Large: " + large + "\r\n\r\n": {431},
			get + "\r\n": {400},
			post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}":                                 {400},
			post + "Transfer-Encoding: chunked\r\n\r\n" + chunked(bodyLimit+1024, ""):                 {413, 401},
			"GET http://elsewhere.test/admin/v1/status HTTP/1.1\r\n" + host + "\r\n":                  {421, 200}, // 200: the socket's peer is known
			"GET /admin/v1/status HTTP/1.1\r\n" + host + "Origin: http://elsewhere.test\r\n\r\n":      {403},
			strings.Replace(get, "/livez", "/admin/v1/status", 1) + "Host: elsewhere.test\r\n\r\n":    {421, 200},
			strings.Replace(get, "/livez", "/admin/v1/status", 1) + host + "Authorization: a\r\n\r\n": {401, 200},
		} {
			conn := at.dial(t)
			go conn.send(request)
			status, _, body, err := conn.reply(patience)
			if !slices.Contains(want, status) || at.network == "tcp" && status == http.StatusOK {
				t.Errorf("%s: %.80q: %d, want %v: %.200s %v", name, request, status, want, body, err)
			}
		}
	}
	l.checkStillServes()
}

// checkStillServes checks that a browser's session works.
func (l *lab) checkStillServes() {
	l.t.Helper()
	l.signIn().refreshes()
}

// chunked returns a body of n bytes, begin padded with spaces, in chunks of at most 1 KiB.
func chunked(n int, begin string) string {
	text := begin + strings.Repeat(" ", n-len(begin))
	var out strings.Builder
	for part := range slices.Chunk([]byte(text), 1024) {
		fmt.Fprintf(&out, "%x\r\n%s\r\n", len(part), part)
	}
	return out.String() + "0\r\n\r\n"
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
