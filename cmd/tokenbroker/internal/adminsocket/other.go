//go:build !linux && !darwin

package adminsocket

import (
	"errors"
	"net"
	"runtime"
)

// ErrInUse is wrapped by the error of [Listen] when somebody answers at the path.
var ErrInUse = errors.New("another broker is running")

// Listen refuses: without the peer's uid, a socket would open to whoever reaches it.
func Listen(string) (net.Listener, error) {
	return nil, errors.New("the admin socket needs to know its peer's user id, which this program cannot ask on " + runtime.GOOS + ": use admin.listen with its token")
}

// PeerUID knows no peer here.
func PeerUID(net.Conn) (uint32, bool) { return 0, false }
