//go:build !linux && !darwin

package adminsocket

import (
	"errors"
	"net"
	"runtime"
)

// ErrInUse is in the chain of the error of [Listen] if a server answers at the path.
var ErrInUse = errors.New("another broker is running")

// Listen returns an error: without the uid of peers, any user who reaches the socket could use it.
func Listen(string) (net.Listener, error) {
	return nil, errors.New("the admin socket needs to know its peer's user id, which this program cannot ask on " + runtime.GOOS + ": use admin.listen with its token")
}

// PeerUID returns false: the uid of peers is not known on this platform.
func PeerUID(net.Conn) (uint32, bool) { return 0, false }
