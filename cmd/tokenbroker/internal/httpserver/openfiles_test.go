package httpserver_test

import (
	"testing"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
)

func TestDivideOpenFiles(t *testing.T) {
	const files = 10 // of a small store
	for name, c := range map[string]struct {
		limit    int
		config   httpserver.Connections
		embedded bool
		want     httpserver.OpenFiles
	}{
		"the unit's": {65536, httpserver.Connections{}, true,
			httpserver.OpenFiles{Limit: 65536, Reserved: 16384, Public: 16384, Operators: 256, NATS: 8192, PerAddress: 256}},
		"more": {1 << 20, httpserver.Connections{Max: 100_000, PerAddress: 1000}, true,
			httpserver.OpenFiles{Limit: 1 << 20, Reserved: 16384, Public: 100_000, Operators: 256, NATS: 8192, PerAddress: 1000}},
		"more than there are": {65536, httpserver.Connections{Max: 100_000}, false,
			httpserver.OpenFiles{Limit: 65536, Reserved: 16384, Public: 48640, Operators: 256, PerAddress: 256, Wanted: 134016}},
		"a shell's": {1024, httpserver.Connections{}, true,
			httpserver.OpenFiles{Limit: 1024, Reserved: 256, Public: 480, Operators: 48, NATS: 192, PerAddress: 120, Wanted: 4096}},
		"few": {256, httpserver.Connections{}, true,
			httpserver.OpenFiles{Limit: 256, Reserved: 74, Public: 115, Operators: 11, NATS: 45, PerAddress: 28, Wanted: 4096}},
		"few, and as many as asked for": {256, httpserver.Connections{Max: 20}, false,
			httpserver.OpenFiles{Limit: 256, Reserved: 74, Public: 20, Operators: 11, PerAddress: 5}},
		"too few": {64, httpserver.Connections{}, true,
			httpserver.OpenFiles{Limit: 64, Reserved: 74, Public: 4, Operators: 4, NATS: 4, PerAddress: 1, Wanted: 4096}},
	} {
		t.Run(name, func(t *testing.T) {
			got := httpserver.DivideOpenFiles(c.limit, files, c.config, c.embedded)
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if used := got.Reserved + got.Public + 2*got.Operators + got.NATS; used > c.limit && name != "too few" {
				t.Errorf("%d of %d descriptors are assigned", used, c.limit)
			}
		})
	}
}
