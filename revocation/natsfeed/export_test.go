package natsfeed

// WithPending returns a feed in which only that many messages may wait.
func (f Feed) WithPending(n int) Feed { f.pending = n; return f }
