package setting

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a [time.Duration] that is written with a unit, such as 90s, 5m, 36h, 14d or 1d12h.
type Duration time.Duration

// Day is 24 hours, a unit that [time.Duration] does not have.
const Day = Duration(24 * time.Hour)

var errDuration = errors.New("want a number with a unit, such as 90s, 5m, 36h or 14d")

// ParseDuration reads a duration as [time.ParseDuration] does, also with whole days (d) in front. Every number
// needs a unit.
func ParseDuration(text string) (Duration, error) {
	if text == "" || strings.HasSuffix(text, "0") { // time.ParseDuration takes a bare 0
		return 0, fmt.Errorf("%q: %w", text, errDuration)
	}
	head, rest, found := strings.Cut(text, "d")
	if !found {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", text, errDuration)
		}
		return Duration(d), nil
	}
	digits := strings.TrimPrefix(head, "-")
	days, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || days > uint64(math.MaxInt64/Day) {
		return 0, fmt.Errorf("%q: %w", text, errDuration)
	}
	total := Duration(days) * Day
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d >= time.Duration(Day) || rest[0] < '0' || rest[0] > '9' || strings.HasSuffix(rest, "0") || Duration(d) > math.MaxInt64-total {
			return 0, fmt.Errorf("%q: %w", text, errDuration)
		}
		total += Duration(d)
	}
	if digits != head {
		total = -total
	}
	return total, nil
}

// Std returns d as a [time.Duration].
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns d in a form that [ParseDuration] reads, such as 14d, 1d12h, 1m30s or 0s.
func (d Duration) String() string {
	sign, rest := "", d
	if d < 0 {
		if d == math.MinInt64 {
			return time.Duration(d).String()
		}
		sign, rest = "-", -d
	}
	var text strings.Builder
	text.WriteString(sign)
	if days := rest / Day; days > 0 {
		text.WriteString(strconv.FormatInt(int64(days), 10) + "d")
		rest %= Day
		if rest == 0 {
			return text.String()
		}
	}
	tail := rest.Std().String()
	if strings.HasSuffix(tail, "m0s") {
		tail = strings.TrimSuffix(tail, "0s")
	}
	if strings.HasSuffix(tail, "h0m") {
		tail = strings.TrimSuffix(tail, "0m")
	}
	text.WriteString(tail)
	return text.String()
}

// MarshalText returns [Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText sets d by [ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
