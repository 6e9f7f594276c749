// Package watch shows operators who look on what happens: revocations as they are committed,
// how far the services have applied them, services whose state changes, and changes of keys.
//
// It works only while somebody watches, in goroutines that [Hub.Run] owns, beside the road of
// a request: nothing waits for it. It reads what was committed from the ledger.
package watch
