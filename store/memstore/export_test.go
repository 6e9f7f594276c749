package memstore

// Redeliver delivers what is on its way and leaves it there, so that it is delivered several times.
func (e *Engine) Redeliver() {
	e.mu.Lock()
	kept := e.kept
	e.mu.Unlock()
	for _, deliver := range kept {
		deliver()
	}
}
