package node

import (
	"context"
	"io"

	"tokenbroker/api"
)

// MaxHeaderBytes is the longest header that a listener reads.
const MaxHeaderBytes = maxHeaderBytes

// OperatorKeys is the keyring as the operators' handler has it.
func OperatorKeys(n *Node) api.Keys { return operatorKeys{n} }

// Backup is what the operators' handler calls.
func (n *Node) Backup(ctx context.Context, w io.Writer) error { return n.backup(ctx, w) }
