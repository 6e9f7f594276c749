package benchcmd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/private"
)

// sizes is the value of a flag that is a list of numbers above 0, which may be written in the form
// 10k or 1M.
type sizes []int

// String implements [pflag.Value].
func (s *sizes) String() string {
	texts := make([]string, len(*s))
	for i, n := range *s {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// Set parses a list separated by commas. A second call replaces the list.
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

// Type returns the name of the value in help texts.
func (s *sizes) Type() string { return "list" }

// or returns the list, or the default if the list is empty.
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

// maxClients is the maximum number of clients of a benchmark. Each client has a connection.
const maxClients = 4096

// maxSessions and maxRate are the maximum number of sessions and the maximum rate of a benchmark.
const (
	maxSessions = 1_000_000
	maxRate     = 1_000_000
)

// checkClients checks the numbers of clients.
func checkClients(clients []int) error {
	if len(clients) == 0 {
		return fmt.Errorf("%w: --clients: want a number or a list of them", terminal.ErrUsage)
	}
	for _, n := range clients {
		if n < 1 || n > maxClients {
			return fmt.Errorf("%w: --clients %d: want 1 to %d", terminal.ErrUsage, n, maxClients)
		}
	}
	return nil
}

// checkRate checks a rate. The rate 0 means that no rate is set, and is valid if noneIsGood is
// true.
func checkRate(flag string, rate float64, noneIsGood bool) error {
	if rate == 0 && noneIsGood {
		return nil
	}
	if !(rate > 0) || rate > maxRate { // !(rate > 0) also excludes NaN
		return fmt.Errorf("%w: %s %v: want a number a second, at most %d", terminal.ErrUsage, flag, rate, maxRate)
	}
	return nil
}

func (b *bencher) password(ctx context.Context) (string, error) {
	if b.passwordStdin {
		return terminal.ReadPassword(ctx, b.stdin)
	}
	return secretOf(envBenchPassword)
}

// secretOf returns the value of an environment variable, or of the file that the variable env_FILE names.
func secretOf(env string) (string, error) {
	text, file := os.Getenv(env), os.Getenv(env+"_FILE")
	switch {
	case text != "" && file != "":
		return "", fmt.Errorf("%w: %s and %s_FILE are both set: keep one", terminal.ErrUsage, env, env)
	case text != "":
		secret, err := private.SecretLine(text)
		if err != nil {
			return "", fmt.Errorf("the value of %s %w", env, err)
		}
		return secret, nil
	case file == "":
		return "", nil
	}
	secret, _, err := private.ReadSecret(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", env, err)
	}
	return secret, nil
}
