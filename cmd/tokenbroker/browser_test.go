package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"tokenbroker/api/web"
	"tokenbroker/internal/longtest"
)

// tab is one tab of a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// startBrowser skips the test where no browser is installed, and with -short; CI installs one.
func startBrowser(t *testing.T, flags ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	longtest.SkipShort(t, "starts a browser")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-quic", true))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	t.Cleanup(stop)
	return open(alloc, t)
}

func open(parent context.Context, t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	return &tab{t, ctx}
}

func (b *tab) navigate(url string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatal(err)
	}
}

// run evaluates a script and ignores its value.
func (b *tab) run(script string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[chromedp.Void](script)); err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
}

// leave runs a script that leaves the page. The answer to it may be lost with the page, so what follows has
// to show that the page was left.
func (b *tab) leave(script string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[chromedp.Void](script)); err != nil {
		b.t.Logf("%s: %v", script, err)
	}
}

// value evaluates a script and returns its value, or that of its promise, as text.
func (b *tab) value(script string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return text
}

// until waits for a condition of the page; a page that is on its way is asked again.
func (b *tab) until(what, condition string) {
	b.t.Helper()
	eventually(b.t, what, func() bool {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+condition+")"))
		return err == nil && ok
	})
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "\\'") + "'" }

func TestClientIsSmall(t *testing.T) {
	source, err := web.Files.ReadFile("client.js")
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(source); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if packed.Len() > 8<<10 { // with its comments; half of that is code
		t.Errorf("client.js is %d bytes gzipped, want at most 8 KiB", packed.Len())
	}
}
