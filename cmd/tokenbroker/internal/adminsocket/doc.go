// Package adminsocket opens the Unix socket of the operators' API. Only this process's own user and
// root can reach it: the modes of the directory and of the socket permit no other user, and the listener
// checks the uid of each peer, which the kernel reports.
//
//	l, err := adminsocket.Listen(path)
//	server := &http.Server{Handler: admin, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
//		if uid, ok := adminsocket.PeerUID(c); ok { … } // the uid of the client
//		return ctx
//	}}
//	server.Serve(l) // closing l removes the socket's file
package adminsocket

import "path/filepath"

// Path returns the default path of the socket of a broker with the data directory dataDir.
func Path(dataDir string) string { return filepath.Join(dataDir, "admin", "admin.sock") }
