// Command tokenbroker-bench measures this machine or a broker and compares each number with its floor:
// docs/bench.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tokenbroker/cmd/tokenbroker/benchcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := benchcmd.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
