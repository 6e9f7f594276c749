package revocation_test

import (
	"fmt"
	"strings"
	"testing"

	"tokenbroker/revocation"
)

func TestAPositionListsAllOriginsInOrder(t *testing.T) {
	for want, seqs := range map[string]map[string]uint64{
		"":             nil,
		"o.0":          {"o": 0},
		"a.9,b.1,c.20": {"c": 20, "a": 9, "b": 1},
	} {
		if got := revocation.FormatPosition(seqs); got != want {
			t.Errorf("position %q, want %q", got, want)
		}
	}
}

// A position of 1,024 origins would be a request line of 40 KB or more.
func TestAPositionThatIsTooLongLeavesOutTheOriginsWithTheFewestBatches(t *testing.T) {
	seqs := map[string]uint64{}
	for i := range revocation.MaxOrigins {
		seqs[fmt.Sprintf("%026d", i)] = uint64(10_000 + i)
	}
	got := revocation.FormatPosition(seqs)
	parts := strings.Split(got, ",")
	if one := len(parts[0]) + 1; len(got) > revocation.MaxPositionBytes || len(got)+one <= revocation.MaxPositionBytes {
		t.Errorf("%d bytes with parts of %d", len(got), one)
	}
	for i, part := range parts {
		n := revocation.MaxOrigins - len(parts) + i
		if want := fmt.Sprintf("%026d.%d", n, 10_000+n); part != want {
			t.Fatalf("part %d is %s, want %s", i, part, want)
		}
	}
}

// The limit is exact.
func TestAPositionOfTheMaximumLengthIsComplete(t *testing.T) {
	seqs := map[string]uint64{}
	for i := range 64 { // 63 commas, and 64 parts of 63 bytes except for the last one
		seqs[fmt.Sprintf("%061d", i)] = 1
	}
	delete(seqs, fmt.Sprintf("%061d", 63))
	seqs[strings.Repeat("z", 62)] = 1
	if got := revocation.FormatPosition(seqs); len(got) != revocation.MaxPositionBytes || strings.Count(got, ",") != 63 {
		t.Errorf("%d bytes, %d commas", len(got), strings.Count(got, ","))
	}
	seqs["o"] = 1
	if got := revocation.FormatPosition(seqs); len(got) > revocation.MaxPositionBytes || strings.Count(got, ",") != 63 {
		t.Errorf("with another origin %d bytes, %d commas", len(got), strings.Count(got, ","))
	}
}
