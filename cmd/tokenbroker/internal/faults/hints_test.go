package faults_test

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hinting is what happens to hints: the events of etcd's watches, from which brokers learn that something changed, and what
// brokers publish on NATS.
type hinting int32

const (
	passed hinting = iota
	dropped
	doubled
	swapped // each second one is sent before the first one
)

func (h hinting) String() string { return [...]string{"passed", "dropped", "doubled", "reordered"}[h] }

// hinter changes hints. The zero value passes them.
type hinter struct {
	mode    atomic.Int32
	changed [swapped + 1]atomic.Int64 // hints by mode
}

func (h *hinter) set(mode hinting) { h.mode.Store(int32(mode)) }

// change returns what is passed on instead of a hint. held is the hint that waits for the next one, and absent replaces one
// that is dropped.
func (h *hinter) change(hint []byte, held *[]byte, absent []byte) []byte {
	mode := hinting(h.mode.Load())
	h.changed[mode].Add(1)
	switch {
	case mode == dropped:
		return absent
	case mode == doubled:
		return append(bytes.Clone(hint), hint...)
	case mode == swapped && *held == nil:
		*held = hint
		return nil
	}
	hint = append(hint, *held...)
	*held = nil
	return hint
}

// etcd is a [tap] of connections from brokers to etcd.
func (h *hinter) etcd(forward, back io.Reader) (io.Reader, io.Reader) {
	var watches sync.Map // of their streams
	held := map[uint32]*[]byte{}
	forward = requests(forward, func(f frame) {
		if f.watch() {
			watches.Store(f.stream(), true)
		}
	})
	return forward, answers(back, func(f frame) ([]byte, error) {
		if _, watch := watches.Load(f.stream()); !watch || f[3] != typeData {
			return f, nil
		}
		if held[f.stream()] == nil {
			held[f.stream()] = new([]byte)
		}
		return h.change(f, held[f.stream()], f.padding()), nil
	})
}

// watch reports whether the frame asks for a watch of the brokers' records: field 1 of a WatchRequest is a request to create
// a watch, whose field 1 is the key.
func (f frame) watch() bool {
	const tag, grpcHeader = 0x0a, 5
	if f[3] != typeData || len(f) < frameHeader+grpcHeader+4 {
		return false
	}
	request := f[frameHeader+grpcHeader:]
	return request[0] == tag && request[2] == tag && bytes.HasPrefix(request[4:], []byte("tokenbroker/"))
}

// nats is a [tap] of connections from brokers to NATS.
func (h *hinter) nats(forward, back io.Reader) (io.Reader, io.Reader) {
	var held []byte
	return publications(forward, func(message []byte) []byte { return h.change(message, &held, nil) }), back
}

// confuseHints drops, doubles and reorders all hints. Neither clients nor services notice.
func (c *cluster) confuseHints(t *testing.T, l *load) {
	var watches, messages hinter
	for i, links := range c.engine {
		c.nats[i].insert(messages.nats)
		defer c.nats[i].insert(nil)
		for _, link := range links {
			link.insert(watches.etcd)
			defer link.insert(nil)
		}
	}
	l.heard(t, "through the taps")
	for _, mode := range []hinting{dropped, doubled, swapped} {
		watches.set(mode)
		messages.set(mode)
		if mode == dropped {
			hold(5*time.Second, 20*time.Second) // longer than a broker without a new reading of the store serves
		}
		l.through(t, "while hints are "+mode.String())
		eventually(t, "hints of both kinds are "+mode.String(), func() bool {
			return watches.changed[mode].Load() > 0 && messages.changed[mode].Load() > 0
		})
		t.Logf("%s: %d of etcd, %d of NATS", mode, watches.changed[mode].Load(), messages.changed[mode].Load())
	}
	watches.set(passed)
	messages.set(passed)
}
