// Package adminsocket provides the unix socket of the operators' surface. Only this process's own user and root can reach
// it: by the mode of its directory, by its own mode, and by the uid of each peer, which the kernel reports.
//
//	l, err := adminsocket.Listen(path)
//	server := &http.Server{Handler: admin, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
//		if uid, ok := adminsocket.PeerUID(c); ok { … }
//		return ctx
//	}}
//	server.Serve(l) // closing l removes the socket's file
package adminsocket

import "path/filepath"

// Path returns the default path of the socket for a data directory.
func Path(dataDir string) string { return filepath.Join(dataDir, "admin", "admin.sock") }
