package pgstore_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"regexp"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// proxy is between a store and the primary. It sees what the store sends, and can lose answers or hold commits back.
type proxy struct {
	address string // of the proxy
	to      string
	work    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]bool
	lose    bool     // the answers to commits
	hold    bool     // the commits
	held    [][]byte // what was held back
	cancels int      // connections that asked to cancel a statement
	lost    int      // answers
	// loseNext loses the answer to the next commit, and dropNext the commit.
	loseNext, dropNext bool
}

func startProxy(tb testing.TB, to string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{address: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	p.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			if !p.add(client, server) {
				return
			}
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.work.Wait()
	})
	return p
}

func (p *proxy) add(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_, _ = client.Close(), server.Close()
		return false
	}
	p.conns[client], p.conns[server] = true, true
	link := &link{proxy: p, client: client, server: server}
	p.work.Go(link.requests)
	p.work.Go(link.answers)
	return true
}

// prepared matches the request that prepares a commit.
var prepared = regexp.MustCompile(`(?s)^P....(tokenbroker_[0-9]+\x00)[^\x00]*commit_v1\(`)

// link is one connection through the proxy.
type link struct {
	*proxy
	client, server net.Conn
	committing     bool   // guarded by proxy.mu
	commit         []byte // the name of the prepared commit, or nil; only for requests
}

func (l *link) close() { _, _ = l.client.Close(), l.server.Close() }

func (l *link) requests() {
	defer l.close()
	buffer := make([]byte, 1<<20)
	for first := true; ; first = false {
		n, err := l.client.Read(buffer)
		if err != nil {
			return
		}
		sent := buffer[:n]
		l.mu.Lock()
		if first && n >= 8 && binary.BigEndian.Uint32(sent[4:]) == 80877102 {
			l.cancels++
		}
		if statement := prepared.FindSubmatch(sent); statement != nil {
			l.commit = append([]byte{0}, statement[1]...) // as a Bind names it
		}
		commit := bytes.Contains(sent, []byte("commit_v1(")) && sent[0] == 'P' && sent[5] == 0 || l.commit != nil && sent[0] == 'B' && bytes.Contains(sent[:40], l.commit)
		if commit {
			l.committing = l.lose || l.loseNext
			if l.hold {
				l.held = append(l.held, bytes.Clone(sent))
			}
		}
		hold := commit && (l.hold || l.dropNext)
		if commit {
			l.loseNext, l.dropNext = false, false
		}
		l.mu.Unlock()
		if hold {
			return
		}
		if _, err := l.server.Write(sent); err != nil {
			return
		}
	}
}

func (l *link) answers() {
	defer l.close()
	buffer := make([]byte, 1<<20)
	for {
		n, err := l.server.Read(buffer)
		if err != nil {
			return
		}
		l.mu.Lock()
		lose := l.committing
		if lose && isReady(buffer[:n]) {
			l.lost++
		}
		l.mu.Unlock()
		if lose {
			if isReady(buffer[:n]) {
				return
			}
			continue
		}
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// isReady reports whether an answer ends with a ReadyForQuery.
func isReady(answer []byte) bool {
	n := len(answer)
	return n >= 6 && answer[n-6] == 'Z' && binary.BigEndian.Uint32(answer[n-5:]) == 5
}

// loseAnswers loses the answers to the commits that commit makes.
func (p *proxy) loseAnswers(commit func()) {
	p.set(func() { p.lose = true })
	commit()
	p.set(func() { p.lose = false })
}

// holdBack holds back the commits that commit makes. The function that it returns sends them on a connection of its own.
func (p *proxy) holdBack(tb testing.TB, databaseURL string) func(commit func()) (again func()) {
	return func(commit func()) (again func()) {
		p.set(func() { p.hold = true })
		commit()
		p.set(func() { p.hold = false })
		return func() {
			c, err := pgconn.Connect(tb.Context(), databaseURL)
			if err != nil {
				tb.Fatal(err)
			}
			raw, err := c.Hijack()
			if err != nil {
				tb.Fatal(err)
			}
			defer func() { _ = raw.Conn.Close() }()
			for _, sent := range p.held {
				if _, err := raw.Conn.Write(sent); err != nil {
					tb.Fatal(err)
				}
				var answer []byte
				for buffer := make([]byte, 1<<16); !isReady(answer); {
					n, err := raw.Conn.Read(buffer)
					if err != nil {
						tb.Fatal(err)
					}
					answer = append(answer, buffer[:n]...)
				}
			}
		}
	}
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}
