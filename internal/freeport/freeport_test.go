package freeport_test

import (
	"testing"

	"tokenbroker/internal/freeport"
)

// TestNoPortIsReturnedTwice takes so many that there would be some twice by chance.
func TestNoPortIsReturnedTwice(t *testing.T) {
	taken := map[string]bool{}
	for range 10 {
		for _, port := range freeport.Take(t, 60) {
			if taken[port] {
				t.Errorf("port %s is returned twice", port)
			}
			taken[port] = true
		}
	}
}
