package node

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen takes addr for what; a busy port is one clear line that names the port and the
// setting that changes it.
func Listen(what, addr, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use by another program; stop it or choose another address with %s", what, addr, setting)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w (change it with %s)", what, err, setting)
	}
	return l, nil
}
