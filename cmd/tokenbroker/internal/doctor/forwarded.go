package doctor

import (
	"context"
	"fmt"
)

// forwarded reports whether the trusted proxies name the clients in a way that the broker reads.
func forwarded(_ context.Context, s Subject) []Finding {
	const name = "client addresses"
	if s.Status == nil {
		return []Finding{{name, Skip, "the broker does not run here", "start the broker"}}
	}
	if n := s.Status.Connections.UnreadableForwarded; n > 0 {
		return []Finding{{
			name, Warn, fmt.Sprintf("%d requests of trusted proxies since the start have an X-Forwarded-For entry that is not an address", n),
			"their users share the proxy's address and its limits: the broker's log names the proxy and the entry; let it write the client's address, with or without a port",
		}}
	}
	return []Finding{{Check: name, Level: OK, Detail: "every X-Forwarded-For of a trusted proxy could be read"}}
}
