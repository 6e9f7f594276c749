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

// maxPath is the longest path in bytes that fits a socket address, with its final zero, on every platform.
const maxPath = 100

// ErrPathTooLong is in the chain of the error of [Listen] for a path that is too long for a socket.
var ErrPathTooLong = errors.New("the admin socket's path is too long")

// ErrInUse is in the chain of the error of [Listen] if another process answers at the path.
var ErrInUse = errors.New("another broker is running")

// Listen makes a socket at path with mode 0600. If the directory does not exist, Listen makes it with mode
// 0700. Listen refuses a directory that belongs to another user or that other users can access, and a path at
// which another process answers. It replaces a socket at which no process answers, which an earlier run left
// behind. The caller must hold the lock of the data directory, so that two brokers that start at the same
// moment do not replace each other's socket.
//
// Accept closes connections of users other than this process's own and root before it reads a byte. Close
// removes the socket's file. The listener is safe for concurrent use and starts no goroutine.
func Listen(path string) (net.Listener, error) {
	own := os.Geteuid()
	return listen(path, func(uid uint32) bool { return uid == 0 || int(uid) == own })
}

func listen(path string, allowed func(uid uint32) bool) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%w: it has %d bytes, the maximum is %d: choose a shorter path with admin.socket: %s", ErrPathTooLong, len(path), maxPath, path)
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
		return nil, errors.Join(fmt.Errorf("restricting the admin socket to its owner: %w", err), inner.Close())
	}
	return &listener{UnixListener: inner, allowed: allowed}, nil
}

// removeStale removes a socket that an earlier run of the broker left behind.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking for an old admin socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another path with admin.socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("the admin socket %s: %w and answers there", path, ErrInUse)
	case !errors.Is(err, syscall.ECONNREFUSED): // other errors, such as a full backlog, do not prove that the socket is stale
		return fmt.Errorf("checking whether a broker answers at the admin socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing an old admin socket: %w", err)
	}
	return nil
}

// listener accepts only peers whose uid is allowed.
type listener struct {
	*net.UnixListener
	allowed func(uid uint32) bool
}

// Accept implements [net.Listener]. It also closes connections of peers whose uid the kernel does not report.
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

// PeerUID returns the user id of the process at the other end of a connection that this package's listener
// accepted. It reports false for any other connection.
func PeerUID(c net.Conn) (uint32, bool) {
	own, ok := c.(*conn)
	if !ok {
		return 0, false
	}
	return own.uid, true
}

// control calls fn with the file descriptor of the connection.
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
