package devserver

import (
	"errors"
	"net"
	"strconv"
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

func TestSampleAddresses(t *testing.T) {
	for flag, want := range map[string]int{
		"127.0.0.1:8082": 1, "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0": 3,
	} {
		if addrs, err := sampleAddresses(flag); err != nil || len(addrs) != want {
			t.Errorf("%s: %v, %v", flag, addrs, err)
		}
	}
	for _, flag := range []string{"127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:4"} {
		if addrs, err := sampleAddresses(flag); !errors.Is(err, terminal.ErrUsage) {
			t.Errorf("%s: %v, %v, want a usage error", flag, addrs, err)
		}
	}
}

// TestSamplesTakeTheFirstPortAndOthersAboveIt: a port that is taken is replaced by a free one, unless
// it was asked for.
func TestSamplesTakeTheFirstPortAndOthersAboveIt(t *testing.T) {
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	busy := "127.0.0.1:" + strconv.Itoa(port(first))
	for _, addrs := range [][]string{{busy}, {"127.0.0.1:0", busy, "127.0.0.1:0"}} {
		if s, err := listenSamples(addrs); err == nil {
			s.close()
			t.Errorf("%v: no error, although %s is taken", addrs, busy)
		}
	}
	base := port(first) - int(sampleSteps[0])
	s, err := listenSamples([]string{"127.0.0.1:" + strconv.Itoa(base)})
	if err != nil {
		t.Skip("the port of the first service is also taken:", err)
	}
	defer s.close()
	if len(s.listeners) != 3 || port(s.listeners[0]) != base || port(s.listeners[1]) == port(first) {
		t.Errorf("listening at %v, with %d taken", s.urls(), port(first))
	}
	_ = first.Close()
	if l, err := listenAbove("127.0.0.1:"+strconv.Itoa(base), sampleSteps[0]); err == nil {
		defer func() { _ = l.Close() }()
		if got := port(l); got != base+int(sampleSteps[0]) {
			t.Errorf("port %d, want %d, which is free", got, base+int(sampleSteps[0]))
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "127.0.0.1:65530"} {
		l, err := listenAbove(addr, sampleSteps[0])
		if err != nil {
			t.Fatal(err)
		}
		if port(l) < 1024 {
			t.Errorf("above %s: port %d", addr, port(l))
		}
		_ = l.Close()
	}
}
