//go:build linux || darwin

package adminsocket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"tokenbroker/internal/private"
)

// maxPath is the longest path that a socket address of every platform can have.
const maxPath = 100

// ErrPathTooLong is in the chain of the error of [Listen] for a path that is too long for a socket.
var ErrPathTooLong = errors.New("the admin socket's path is too long")

// ErrInUse is in the chain of the error of [Listen] if a server answers at the path.
var ErrInUse = errors.New("another broker is running")

// Listen creates the socket at path with mode 0600, and its directory with mode 0700 if it does not exist. It refuses a
// directory that another user owns or that is open to others, and a path at which a server answers. It replaces a
// socket at which no server answers, which an earlier run left. The caller must hold the lock of the data directory,
// because two brokers could start at the same moment.
//
// Accept closes connections of users other than this process's own and root before it reads a byte. Close removes the
// socket's file. The listener is safe for concurrent use and starts no goroutine.
func Listen(path string) (net.Listener, error) {
	own := os.Geteuid()
	return listen(path, func(uid uint32) bool { return uid == 0 || int(uid) == own })
}

func listen(path string, allowed func(uid uint32) bool) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%w: it has %d bytes and the system takes %d: choose a shorter one with admin.socket: %s", ErrPathTooLong, len(path), maxPath, path)
	}
	if err := private.MakeDir(filepath.Dir(path), "admin socket's directory", "admin.socket"); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	inner, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("opening the admin socket (admin.socket): %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("closing the admin socket to others: %w", err), inner.Close())
	}
	return &listener{UnixListener: inner, allowed: allowed}, nil
}

// removeStale removes the socket of a broker that ended without removing it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking for an old admin socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("at %s is something else than a socket: remove it, or choose another place with admin.socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("the admin socket %s: %w and answers there", path, ErrInUse)
	case !errors.Is(err, syscall.ECONNREFUSED): // a full backlog does not prove that no server listens
		return fmt.Errorf("asking whether a broker answers at the admin socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing an old admin socket: %w", err)
	}
	return nil
}

// listener accepts the connections of users for whom allowed returns true.
type listener struct {
	*net.UnixListener
	allowed func(uid uint32) bool
}

// Accept implements [net.Listener]. It refuses a peer whose uid the kernel does not report.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && l.allowed(uid) {
			return &conn{UnixConn: c, uid: uid}, nil
		}
		_ = c.Close()
	}
}

// conn is a connection with the uid of its peer.
type conn struct {
	*net.UnixConn
	uid uint32
}

// PeerUID returns the user id of the process at the other end of a connection that a listener of this package
// accepted. It returns false for any other connection.
func PeerUID(c net.Conn) (uint32, bool) {
	own, ok := c.(*conn)
	if !ok {
		return 0, false
	}
	return own.uid, true
}

// control runs fn on the connection's descriptor.
func control(c *net.UnixConn, fn func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}
