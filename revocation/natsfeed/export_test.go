package natsfeed

// WithPending returns a feed in which so few messages may wait.
func (f Feed) WithPending(n int) Feed { f.pending = n; return f }
