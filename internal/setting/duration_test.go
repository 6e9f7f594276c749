package setting_test

import (
	"testing"
	"time"

	"tokenbroker/internal/setting"
)

func FuzzDuration(f *testing.F) {
	for _, d := range []int64{0, 1, int64(time.Second), int64(10 * time.Minute), int64(36 * time.Hour), -int64(setting.Day), 1<<63 - 1, -1 << 63} {
		f.Add(d, setting.Duration(d).String())
	}
	f.Fuzz(func(t *testing.T, ns int64, text string) {
		if back, err := setting.ParseDuration(setting.Duration(ns).String()); err != nil || back != setting.Duration(ns) {
			t.Errorf("%d is written %q and read as %d, %v", ns, setting.Duration(ns), back, err)
		}
		if d, err := setting.ParseDuration(text); err == nil && text[len(text)-1] <= '9' {
			t.Errorf("%q without unit is %v", text, d)
		}
	})
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]string{
		"90s": "1m30s", "5m": "5m", "36h": "1d12h", "14d": "14d", "1d12h30m": "1d12h30m", "-2d": "-2d", "0s": "0s", "0d": "0s", "1h0m10s": "1h0m10s", "24h": "1d", "10m": "10m", "1.5h": "1h30m",
		"": "", "0": "", "3600": "", "d": "", "1d-1h": "", "1d24h": "", "1.5d": "", "1d0": "", "200000d": "", "1w": "", "--1d": "", "+1d": "",
	} {
		d, err := setting.ParseDuration(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is read as %v", text, d)
			}
			continue
		}
		var read setting.Duration
		if err := read.UnmarshalText([]byte(text)); err != nil || read != d {
			t.Errorf("UnmarshalText(%q) = %v, %v", text, read, err)
		}
		if err != nil || d.String() != want {
			t.Errorf("%q is read as %v, %v, want %s", text, d, err, want)
		}
	}
}
