package node_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestRefusalsReachClientsThatSendFirst checks that a client that sends its whole body before it reads,
// as proxies do, can send all of it and receives the answer without a reset, for each refusal and size.
func TestRefusalsReachClientsThatSendFirst(t *testing.T) {
	t.Parallel()
	l := newFaultLab(t, nil)
	const tries = 5
	for name, c := range map[string]struct {
		begin    string
		listener string
		want     int
	}{
		"too large":              {"POST /auth/sign-in/ %s\r\nContent-Type: application/json\r\n", "public", 413},
		"another type":           {"POST /auth/sign-in/ %s\r\nContent-Type: text/plain\r\n", "public", 415},
		"another origin":         {"POST /auth/sign-in/ %s\r\nContent-Type: application/json\r\nOrigin: http://evil.test\r\n", "public", 403},
		"a form too large":       {"POST /oauth2/introspect %s\r\nContent-Type: application/x-www-form-urlencoded\r\n", "public", 413},
		"no credentials":         {"POST /revocations/receipt %s\r\nContent-Type: application/json\r\n", "public", 401},
		"no such path":           {"POST /nowhere %s\r\n", "public", 404},
		"no such method":         {"DELETE /auth/sign-in/ %s\r\n", "public", 405},
		"a body on GET":          {"GET /livez %s\r\n", "public", 200},
		"no token":               {"POST /admin/v1/users %s\r\nContent-Type: application/json\r\n", "admin", 401},
		"an operator, too large": {"POST /admin/v1/users %s\r\nContent-Type: application/json\r\n", "socket", 413},
	} {
		for _, version := range []string{"HTTP/1.0", "HTTP/1.1", "HTTP/1.1\r\nConnection: close"} {
			for _, size := range []int{66 << 10, 600 << 10, 4 << 20} {
				if size == 66<<10 && c.want == http.StatusOK {
					continue // the server itself reads that much
				}
				t.Run(fmt.Sprintf("%s, %d bytes, %q", name, size, version), func(t *testing.T) {
					t.Parallel()
					request := fmt.Sprintf(c.begin, version+"\r\nHost: 127.0.0.1") + fmt.Sprintf("Content-Length: %d\r\n\r\n", size) + strings.Repeat("x", size)
					for range tries {
						conn := l.listeners()[c.listener].dial(t)
						if _, err := io.WriteString(conn, request); err != nil {
							t.Errorf("sending: %v", err)
						}
						status, header, body, err := conn.reply(patience)
						if status != c.want {
							t.Errorf("%d %.200s %v, want %d", status, body, err, c.want)
						}
						if header.Get("Connection") == "close" {
							if _, err := conn.r.ReadByte(); err != io.EOF {
								t.Errorf("after the answer: %v", err)
							}
						}
						_ = conn.Close()
					}
				})
			}
		}
	}
}
