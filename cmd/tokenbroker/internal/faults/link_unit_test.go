package faults_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echoes returns a link to a server that sends back what it receives.
func echoes(t *testing.T) *link {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }() // until the link closes the connection
		}
	}()
	return newLink(t, "127.0.0.1:0", server.Addr().String())
}

// through is a connection through a link.
type through struct {
	net.Conn
	t *testing.T
}

func (l *link) dial(t *testing.T) through {
	t.Helper()
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return through{conn, t}
}

func (c through) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// read wants text to come back.
func (c through) read(text string) {
	c.t.Helper()
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
		c.t.Fatalf("read %q, %v; want %q", buf, err, text)
	}
}

// silent wants nothing to come back for a moment: a fault that did not work would show at once.
func (c through) silent() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("a link that loses everything returns %d bytes, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Time{})
}

func TestALinkLosesBytesUntilItWorksAgain(t *testing.T) {
	l := echoes(t)
	old := l.dial(t)
	old.write("one")
	old.read("one")
	for _, f := range []fault{silence, {forward: true}, {back: true}} {
		l.set(f)
		old.write("two")
		old.silent()
		young := l.dial(t)
		young.write("three")
		young.silent()
		l.set()
		old.read("two")
		young.read("three")
	}
}

func TestALinkRefusesConnections(t *testing.T) {
	l := echoes(t)
	old := l.dial(t)
	old.write("one")
	old.read("one")
	l.set(fault{refuse: true})
	conns := []net.Conn{old}
	if young, err := net.Dial("tcp", l.addr); err == nil { // the link may close the connection before Dial returns
		defer young.Close()
		conns = append(conns, young)
	}
	for _, conn := range conns {
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("a link that refuses returns %d bytes", n)
		}
	}
	l.set()
	young := l.dial(t)
	young.write("two")
	young.read("two")
}

func TestAFaultOfOneSource(t *testing.T) {
	l := echoes(t)
	a, b := l.dial(t), l.dial(t)
	const headerA, headerB = "GET / HTTP/1.1\r\nX-Server-From: aa\r\n\r\n", "GET / HTTP/1.1\r\nX-Server-From: bb\r\n\r\n"
	a.write(headerA)
	a.read(headerA)
	b.write(headerB)
	b.read(headerB)
	l.set(fault{forward: true, source: "aa"})
	a.write("one")
	b.write("two")
	b.read("two")
	a.silent()
	l.set()
	a.read("one")
}
