package ledger

// LimitAnswers sets how many bytes of answers may be in use before another is encoded.
func (l *Ledger) LimitAnswers(bytes int64) {
	l.answers.mu.Lock()
	defer l.answers.mu.Unlock()
	l.answers.limit = bytes
}
