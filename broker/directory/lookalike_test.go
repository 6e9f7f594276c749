package directory_test

import (
	"testing"

	"tokenbroker/broker/directory"
)

func TestNamesThatLookAlike(t *testing.T) {
	for name, others := range map[string][]string{
		"Apple":   {"apple", "APPLE", "\u0430\u0440\u0440\u04cf\u0435", "App1e", "AppIe", "\uff21pple", "A\u200bpple", "Àpplé", "App le", "Apple."},
		"Grafana": {"Gr\u0430fana", "G rafana", "grafana!"},
		"Paypal":  {"Рау\u0440а1", "PAYPAL", "Pay-Pal", "PayPaI"},
		"Modern":  {"Modem", "MODERN", "M0dern"},
		"Win":     {"VVin", "W\u0456n"},
		"":        {" ", "\u200b", "-"},
	} {
		for _, other := range others {
			if directory.Lookalike(name) != directory.Lookalike(other) {
				t.Errorf("%q and %q are told apart: %q, %q", name, other, directory.Lookalike(name), directory.Lookalike(other))
			}
		}
	}
	for _, pair := range [][2]string{{"Apple", "Apply"}, {"C", "C++"}, {"C", "C#"}, {"東京", "京都"}, {"Яндекс", "Яндакс"}, {"App 2", "App 3"}, {"का", "कि"}, {"☂", "☃"}} {
		if directory.Lookalike(pair[0]) == directory.Lookalike(pair[1]) {
			t.Errorf("%q and %q are one name", pair[0], pair[1])
		}
	}
}

func TestConfusableNames(t *testing.T) {
	for name, want := range map[string]bool{
		"": false, "My app ✓": false, "Яндекс Карты": false, "Εφαρμογή": false, "東京 app": false, "Çà et là": false, "App 2": false,
		"P\u0430ypal": true, "\u0391pple": true, "\u0420\u0430\u0443 \u03c1al": true, "Goo\u200b\u0433le": true,
	} {
		if got := directory.Confusable(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
