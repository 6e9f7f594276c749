// Package curve says what measured curves mean: where a server's knee is ([Ramp], [Knee]),
// and how a cost grows with a size ([Fit]). Nothing in it measures.
package curve
