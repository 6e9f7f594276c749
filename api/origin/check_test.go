package origin_test

import (
	"strings"
	"testing"

	"tokenbroker/api/origin"
)

func TestParseAcceptsWhatBrowsersSend(t *testing.T) {
	for _, text := range []string{
		"https://app.example.com", "https://app.example.com/", "http://localhost:5173", "http://127.0.0.1:1", "http://[::1]:8080",
		"https://xn--bcher-kva.example", "https://a_b.example.com:65535", "http://broker:8081", "https://example.co.uk", "https://me.github.io",
		"https://App.Example.com:443",
	} {
		if _, err := origin.Parse(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParseRefusesWhatNoBrowserSends(t *testing.T) {
	for text, want := range map[string]string{
		"https://bücher.example":             "xn--bcher-kva.example",
		"https://example.com.":               "ends in a dot",
		"https://example.com:":               "remove the colon",
		"https://example.com:0":              "1 to 65535",
		"https://example.com:65536":          "1 to 65535",
		"https://example.com:08443":          "8443",
		"https://0x7f.1":                     "address",
		"https://2130706433":                 "address",
		"https://127.1":                      "address",
		"https://127.0.0.01":                 "address",
		"https://127.0.0.1.":                 "address",
		"https://[0:0:0:0:0:0:0:1]":          "::1",
		"https://[::ffff:127.0.0.1]":         "127.0.0.1",
		"https://[fe80::1%25eth0]":           "zone",
		"https://a..example.com":             "not a name",
		"https://.example.com":               "not a name",
		"https://-a.example.com":             "not a name",
		"https://a%2fb.example":              "origin",
		"https://a,b.example":                "not a name",
		"https://co.uk":                      "public suffix",
		"https://github.io":                  "public suffix",
		"https://app.example.com?":           "origin",
		"https://app.example.com#":           "origin",
		"https://app.example.com/#":          "origin",
		"https://" + strings.Repeat("a", 64): "not a name",
		"*":                                  "origin",
		"null":                               "origin",
	} {
		if u, err := origin.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want an error with %q", text, u, err, want)
		}
	}
}
