// Package session is the pure core of the broker's sessions: what a message does to a
// user's records, decided from nothing but the time, the state and the message.
//
// [Step] has no goroutine, no clock and no I/O. The shell around it (the session shards
// of package broker) reads the state from the store, calls Step, and performs the
// [Effects] in this order: persist, then reply, then broadcast.
package session
