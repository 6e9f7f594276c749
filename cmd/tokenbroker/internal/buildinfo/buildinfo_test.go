package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestInfoOfEachWayToBuild(t *testing.T) {
	clone := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v0.0.0-20261130103733-76209d6b58c1+dirty"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "76209d6"}}}
	for name, c := range map[string]struct {
		info              *debug.BuildInfo
		version, revision string
		want              Info
		text              string
	}{
		"go run": {
			info: &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"}},
			want: Info{"(devel)", "development build", "go1.26.8"}, text: "tokenbroker, development build (go1.26.8)",
		},
		"go install in a clone": {
			info: clone, want: Info{"v0.0.0-20261130103733-76209d6b58c1+dirty", "76209d6", "go1.26.8"},
			text: "tokenbroker v0.0.0-20261130103733-76209d6b58c1+dirty (76209d6, go1.26.8)",
		},
		"a release": {
			info: clone, version: "v1.2.3", revision: "0c0ffee", want: Info{"v1.2.3", "0c0ffee", "go1.26.8"},
			text: "tokenbroker v1.2.3 (0c0ffee, go1.26.8)",
		},
		"nothing recorded": {
			info: &debug.BuildInfo{GoVersion: "go1.26.8"},
			want: Info{"(devel)", "development build", "go1.26.8"}, text: "tokenbroker, development build (go1.26.8)",
		},
	} {
		if got := of(c.info, c.version, c.revision); got != c.want || got.String() != c.text {
			t.Errorf("%s: got %+v, %q, want %+v, %q", name, got, got.String(), c.want, c.text)
		}
	}
}
