package ledger

import "tokenbroker/store/origins"

// LimitAnswers sets how many bytes of answers may be in use before another is encoded.
func (l *Ledger) LimitAnswers(bytes int64) {
	l.answers.mu.Lock()
	defer l.answers.mu.Unlock()
	l.answers.limit = bytes
}

// Seen returns the head of an origin in memory, on a shared engine.
func (l *Ledger) Seen(origin string) uint64 { return l.shared.head(origin) }

// Observe takes over the origins of a view.
func (l *Ledger) Observe(v *origins.View) { l.shared.observe(v) }

// Knows reports whether an origin is in memory, on a shared engine.
func (l *Ledger) Knows(origin string) bool {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	return l.shared.log.origins[origin] != nil
}
