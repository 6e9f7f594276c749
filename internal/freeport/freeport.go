// Package freeport finds ports for servers of tests that keep them over restarts. Tests of several packages run at the same
// time and look for ports in the same range: a UDP socket reserves each port, because the servers only use TCP.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Take returns n ports of 127.0.0.1 that nobody else gets before the test has ended.
func Take(tb testing.TB, n int) []string {
	tb.Helper()
	ports, release, err := Reserve(n)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(release)
	return ports
}

// Reserve is [Take] until the caller calls release. The ports are below the range from which the kernel assigns ports to
// connections.
func Reserve(n int) (ports []string, release func(), err error) {
	var reserved []net.PacketConn
	release = func() {
		for _, r := range reserved {
			_ = r.Close()
		}
	}
	for tries := 0; len(ports) < n; tries++ {
		port := strconv.Itoa(20_000 + rand.IntN(12_000)) //nolint:gosec // a port is no secret
		udp, udpErr := net.ListenPacket("udp", "127.0.0.1:"+port)
		if udpErr == nil {
			reserved = append(reserved, udp)
		}
		tcp, tcpErr := net.Listen("tcp", "127.0.0.1:"+port)
		if tcpErr == nil {
			_ = tcp.Close()
		}
		switch err := errors.Join(udpErr, tcpErr); {
		case err == nil:
			ports = append(ports, port)
		case tries > 1000:
			release()
			return nil, nil, err
		}
	}
	return ports, release, nil
}
