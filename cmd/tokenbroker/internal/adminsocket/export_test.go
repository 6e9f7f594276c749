//go:build linux || darwin

package adminsocket

// ListenFor is Listen with a function that decides which uids may connect.
var ListenFor = listen
