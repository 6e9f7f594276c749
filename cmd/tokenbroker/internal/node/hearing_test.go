//go:build !race

package node_test

import "time"

// hearing is within what a thousand listeners learn of a revocation.
const hearing = time.Second
