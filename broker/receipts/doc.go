// Package receipts is the broker's memory of how far the services are: which revocations
// each of them has applied, as it says itself.
//
// A receipt is unsigned and proves nothing: who may write one can claim for its own service
// what it likes. So receipts are for the eyes of people, who see at once which service lags
// behind, and no promise rests on them.
//
//	done := collector.Expect() // before the commit: its batch asks for receipts
//	defer done()
//	seq := commit()
//	summary := collector.Applied(ctx, seq) // 14 of 14
package receipts
