//go:build linux || darwin

package adminsocket

// ListenFor is Listen with another idea of who may connect.
var ListenFor = listen
