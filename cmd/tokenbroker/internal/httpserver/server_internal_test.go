package httpserver

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The SETTINGS frame of the server, which is its first frame, bounds the concurrent requests of an HTTP/2
// connection (RFC 9113 §3.4, §6.5).
func TestRequestsOfAnHTTP2Connection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(l, Limits{Total: 8}, slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	defer certificates.Close()
	pair := &certificates.TLS.Certificates[0]
	s.Serve(http.NotFoundHandler(), func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair, nil }, nil)
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()

	conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9) // length, type, flags, stream
	if _, err := io.ReadFull(conn, head); err != nil || head[3] != 4 {
		t.Fatalf("no SETTINGS: %x, %v", head, err)
	}
	settings := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(conn, settings); err != nil {
		t.Fatal(err)
	}
	var got uint32
	for ; len(settings) >= 6; settings = settings[6:] {
		if binary.BigEndian.Uint16(settings) == 3 { // SETTINGS_MAX_CONCURRENT_STREAMS
			got = binary.BigEndian.Uint32(settings[2:])
		}
	}
	if got != requestsPerConnection {
		t.Errorf("a connection may have %d requests in progress, want %d", got, requestsPerConnection)
	}
}
