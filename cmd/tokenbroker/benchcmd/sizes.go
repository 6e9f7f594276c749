package benchcmd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sizes is a flag's list of numbers above 0, which may be written as 10k or 1M.
type sizes []int

// String implements pflag's Value.
func (s *sizes) String() string {
	texts := make([]string, len(*s))
	for i, n := range *s {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// Set takes a list separated by commas; a second one takes the place of the first.
func (s *sizes) Set(text string) error {
	var list sizes
	for part := range strings.SplitSeq(text, ",") {
		n, err := size(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		list = append(list, n)
	}
	slices.Sort(list)
	*s = slices.Compact(list)
	return nil
}

// Type is what help calls the value.
func (s *sizes) Type() string { return "list" }

// or is the list, or the default.
func (s *sizes) or(usual ...int) []int {
	if len(*s) == 0 {
		return usual
	}
	return *s
}

func size(text string) (int, error) {
	times := 1
	digits := text
	switch {
	case strings.HasSuffix(text, "k"):
		times, digits = 1000, strings.TrimSuffix(text, "k")
	case strings.HasSuffix(text, "M"):
		times, digits = 1_000_000, strings.TrimSuffix(text, "M")
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 1_000_000_000/times {
		return 0, fmt.Errorf("%q: want numbers above 0, as in 1,1k,100k", text)
	}
	return n * times, nil
}
