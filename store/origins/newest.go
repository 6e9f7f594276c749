//go:build !tokenbroker_next

package origins

const newest = 1
