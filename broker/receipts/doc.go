// Package receipts collects the services' receipts: which revocations
// each service reports to have applied.
//
// A receipt is unsigned and proves nothing: its sender can claim anything for its own service.
// Receipts show people which service lags behind. No promise depends on them.
//
//	done := collector.Expect() // before the commit: its batch asks for receipts
//	defer done()
//	seq := commit()
//	summary := collector.Applied(ctx, heads) // 14 of 14
package receipts
