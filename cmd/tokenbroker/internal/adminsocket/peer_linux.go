package adminsocket

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID returns the uid of the process that connected, as the kernel reports it (unix(7), SO_PEERCRED).
func peerUID(c *net.UnixConn) (uid uint32, err error) {
	err = control(c, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = cred.Uid
		}
		return err
	})
	return uid, err
}
