//go:build !linux

package httpserver

import "net"

// unread reports false: what waits in the socket is only asked for on Linux.
func unread(net.Conn) bool { return false }
