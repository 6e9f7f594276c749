// Package adminsocket is the unix socket of the operators' surface: reachable for this
// process's own user and for root alone, by the directory's mode, the socket's mode and
// the uid that the kernel tells of each peer.
//
//	l, err := adminsocket.Listen(path)
//	server := &http.Server{Handler: admin, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
//		if uid, ok := adminsocket.PeerUID(c); ok { … } // who asks
//		return ctx
//	}}
//	server.Serve(l) // closing l removes the socket's file
package adminsocket

import "path/filepath"

// Path is where a broker with that data directory has its socket unless told otherwise.
func Path(dataDir string) string { return filepath.Join(dataDir, "admin", "admin.sock") }
