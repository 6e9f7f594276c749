package faults_test

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"tokenbroker/internal/longtest"
)

// thief loses the answers of commits: when a member has answered one, it closes the connection instead of passing the
// answer on.
type thief struct {
	every atomic.Int64 // one commit of that number loses its answer; 0 is none
	seen  atomic.Int64 // commits that were forwarded while every was not 0
	lost  atomic.Int64 // answers that were lost
}

// tap is a [tap] of connections from brokers to etcd.
func (th *thief) tap(forward, back io.Reader) (io.Reader, io.Reader) {
	var stream atomic.Uint32 // of the commit whose answer will be lost
	forward = requests(forward, func(f frame) {
		if every := th.every.Load(); every > 0 && f.commit() && th.seen.Add(1)%every == 0 {
			stream.CompareAndSwap(0, f.stream())
		}
	})
	return forward, answers(back, func(f frame) ([]byte, error) {
		if f[3] == typeHeaders && f.stream() == stream.Load() { // the member sends them when it has applied the commit
			th.lost.Add(1)
			return nil, io.EOF
		}
		return f, nil
	})
}

// commit reports whether the frame has a commit of a session: it writes the broker's own record, which has its clock, and a
// record of a session.
func (f frame) commit() bool {
	return f[3] == typeData && bytes.Contains(f, []byte(`"clock_ms":`)) && bytes.Contains(f, []byte("/session."))
}

// loseAnswers loses the answers of commits of all brokers. No client notices.
func (c *cluster) loseAnswers(t *testing.T, l *load) {
	var th thief
	for _, links := range c.engine {
		for _, link := range links {
			link.insert(th.tap)
			defer link.insert(nil)
		}
	}
	l.more(t, "through the taps")
	th.every.Store(3)
	for goal := int64(50); goal <= longtest.Pick[int64](50, 1000); goal += 50 {
		eventually(t, "answers are lost", func() bool { return th.lost.Load() >= goal || t.Failed() })
	}
	th.every.Store(0)
	t.Logf("the answers of %d of %d commits were lost", th.lost.Load(), th.seen.Load())
	settled := 0.0
	for i := range size {
		settled += c.metric(t, i, "tokenbroker_cluster_settled_commits_total")
	}
	if settled == 0 {
		t.Error("no broker had to settle a commit")
	}
	l.heard(t, "after answers were lost")
}
