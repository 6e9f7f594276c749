//go:build !linux

package httpserver

import "net"

// unread reports false: unread bytes are only detected on Linux.
func unread(net.Conn) bool { return false }
