//go:build !linux && !darwin

package adminsocket

import (
	"errors"
	"net"
	"runtime"
)

// ErrInUse is in the chain of the error of [Listen] if another process answers at the path.
var ErrInUse = errors.New("another broker is running")

// Listen returns an error on this platform: it offers no way to restrict the socket by the peer's uid.
func Listen(string) (net.Listener, error) {
	return nil, errors.New("the admin socket needs the user id of its peer, which this program cannot read on " + runtime.GOOS + ": use admin.listen with a token")
}

// PeerUID reports false: no connection has a known peer on this platform.
func PeerUID(net.Conn) (uint32, bool) { return 0, false }
