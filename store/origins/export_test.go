package origins

import "context"

// Pass makes a pass, as Run does. It reports whether it reached the last record.
func (s *Sweep) Pass(ctx context.Context) (done bool, err error) { return s.pass(ctx) }
