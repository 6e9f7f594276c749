package node

import (
	"context"
	"io"

	"tokenbroker/api"
)

// The limits of the listeners, for tests that wait them out.
const (
	ReadHeaderTimeout = readHeaderTimeout
	ReadTimeout       = readTimeout
	DrainTimeout      = drainTimeout
	MaxHeaderBytes    = maxHeaderBytes
)

// OperatorKeys is the keyring as the operators' handler has it.
func OperatorKeys(n *Node) api.Keys { return operatorKeys{n} }

// Backup is what the operators' handler calls.
func (n *Node) Backup(ctx context.Context, w io.Writer) error { return n.backup(ctx, w) }
