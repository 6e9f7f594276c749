// Command plot draws the figures of docs/performance.md from the output of the Go benchmarks:
//
//	go test -run '^$' -bench 'ValidateSeenBefore|Denylist' -cpu 1 ./bench | tee measured.txt
//	go run ./bench/plot -o docs/plots measured.txt
//
// It reads the files, or its standard input if there are none, and writes each figure that has at
// least two points, as SVG or, with -format png, as PNG. If a benchmark ran more than once, the
// median is drawn.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tokenbroker/bench/gobench"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run returns the exit code: 1 if nothing could be drawn, 2 for a usage error.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("plot", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("o", ".", "write the figures into this `directory`")
	format := flags.String("format", "svg", "svg or png")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if *format != "svg" && *format != "png" {
		_, _ = fmt.Fprintf(stderr, "plot: -format %s: want svg or png\n", *format)
		return 2
	}
	text, err := read(flags.Args(), stdin)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "plot:", err)
		return 2
	}
	found, cpu, err := gobench.Parse(text)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "plot:", err)
		return 1
	}
	drawn := 0
	for _, f := range figures {
		curves := f.curves(found)
		if len(curves) == 0 {
			_, _ = fmt.Fprintf(stderr, "plot: nothing was measured for %s\n", f.name)
			continue
		}
		file := filepath.Join(*dir, f.name+"."+*format)
		if err := f.draw(curves, cpu, file); err != nil {
			_, _ = fmt.Fprintf(stderr, "plot: drawing %s: %v\n", file, err)
			return 1
		}
		_, _ = fmt.Fprintln(stdout, file)
		drawn++
	}
	if drawn == 0 {
		return 1
	}
	return 0
}

func read(files []string, stdin io.Reader) (string, error) {
	if len(files) == 0 {
		text, err := io.ReadAll(stdin)
		return string(text), err
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), nil
}
