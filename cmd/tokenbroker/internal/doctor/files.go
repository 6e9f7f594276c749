package doctor

import (
	"context"
	"fmt"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
)

// files compares the running server's limit of open files with what its connections need.
func files(_ context.Context, s Subject) []Finding {
	const name = "open files"
	if s.Status == nil || s.Status.Connections.OpenFiles == 0 { // an older server does not report it
		return []Finding{{name, Skip, "the broker does not run here, or does not report its limit", "start the broker"}}
	}
	c := s.Status.Connections
	found := Finding{Check: name, Level: OK, Detail: fmt.Sprintf("limit %d: %d connections at the public listener, %d of one address", c.OpenFiles, c.Max, c.PerAddress)}
	if c.OpenFilesWanted > 0 {
		found.Level, found.Hint = Warn, httpserver.OpenFiles{Wanted: c.OpenFilesWanted}.Hint()
	}
	return []Finding{found}
}
