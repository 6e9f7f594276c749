package node

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen takes addr for what; a busy port is one clear line that names the port and the
// flag that changes it.
func Listen(what, addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use by another program; stop it or choose another address with --%s", what, addr, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w (change it with --%s)", what, err, flag)
	}
	return l, nil
}
