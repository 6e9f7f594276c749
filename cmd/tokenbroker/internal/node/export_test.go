package node

import (
	"context"
	"io"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/api/admin"
)

// Registry is that of the broker's metrics.
func Registry(n *Node) prometheus.Collector { return n.metrics.Gatherer().(prometheus.Collector) }

// OperatorKeys is the keyring as the operators' handler has it.
func OperatorKeys(n *Node) admin.Keys { return operatorKeys{n} }

// Backup is what the operators' handler calls.
func (n *Node) Backup(ctx context.Context, w io.Writer) error { return n.backup(ctx, w) }
