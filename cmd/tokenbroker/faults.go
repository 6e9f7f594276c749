//go:build faults

package main

import (
	"fmt"
	"os"
	"time"

	"tokenbroker/broker/password"
)

// clockOffsetEnv is the environment variable by which the fault tests set the wall clock of serve wrong. It is a duration, such as
// -1h, and is only in programs built with the tag faults. Its name does not begin with TOKENBROKER_, whose variables are
// settings.
const clockOffsetEnv = "FAULTS_CLOCK_OFFSET"

func init() {
	password.DefaultParams = password.Params{Memory: 64, Time: 1, Threads: 1} // the sign-ins of tests are cheap
	text := os.Getenv(clockOffsetEnv)
	if text == "" {
		return
	}
	offset, err := time.ParseDuration(text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", clockOffsetEnv, err)
		os.Exit(1)
	}
	wall = func() time.Time { return time.Now().Add(offset) }
}
