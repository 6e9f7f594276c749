package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
)

const (
	signedIn  = "document.getElementById('in') && !document.getElementById('in').hidden"
	signedOut = "document.getElementById('out') && !document.getElementById('out').hidden"
	// accepting and refusing are true when all three services do.
	accepting = "document.querySelectorAll('.service[data-state=accepts] small:empty').length === 3 && document.getElementById('log').textContent.includes('answered 200')"
	refusing  = "document.querySelectorAll('.service[data-state=refuses]').length === 3"
)

func logged(text string) string { return shows("log", text) }

func shows(id, text string) string {
	return "document.getElementById('" + id + "') && document.getElementById('" + id + "').textContent.includes(" + quote(text) + ")"
}

func click(id string) string { return "document.getElementById('" + id + "').click()" }

const submit = "document.querySelector('#sign-in button').click()"

// fill writes the form of the hosted page and sends it.
func fill(user, password string) string {
	return "document.querySelector('[name=username]').value = " + quote(user) + "; document.querySelector('[name=password]').value = " +
		quote(password) + "; document.querySelector('form button').click()"
}

// startDemo opens the demo page, with no one signed in.
func startDemo(t *testing.T) (*tab, *running) {
	t.Helper()
	first := startBrowser(t)
	dev := startDev(t)
	first.navigate(dev.issuer + "/")
	first.until("the form", signedOut)
	return first, dev
}

// TestBrowserDemo goes through the demo page as a person does.
func TestBrowserDemo(t *testing.T) {
	t.Parallel()
	first, dev := startDemo(t)
	first.looksRight("signed out")
	first.run("document.querySelector('[name=password]').value = 'wrong'; " + submit)
	first.until("the refusal is in the form, in words", shows("problem", "do not match"))
	first.want("where the focus is", "document.activeElement.name", "password")
	first.looksRight("a wrong password")
	first.run("document.querySelector('[name=password]').value = 'admin'; " + submit)
	first.until("signed in with a password", signedIn)
	first.until("the services accept the token", accepting)
	first.want("the token's lifetime", "String(document.getElementById('life').max)", "300")
	first.looksRight("signed in")
	first.leave("location.reload()")
	first.until("the reload is reported", signedIn+" && "+logged("Still signed in after the reload."))
	first.want("what happened before it", "String("+logged("Signed in.")+")", "true")

	tabs := []*tab{first}
	for range 4 {
		other := open(first.ctx, t)
		other.navigate(dev.issuer + "/")
		other.until("another tab is signed in", signedIn)
		other.until("its services accept the token", accepting)
		tabs = append(tabs, other)
	}
	for _, b := range tabs {
		b.run(click("refresh"))
	}
	for _, b := range tabs {
		b.until("each tab refreshed", logged("Refreshed:"))
		b.until("no one was signed out", signedIn)
	}
	first.run(click("log-off"))
	first.until("three services refuse the token", refusing)
	first.until("the summary", shows("headline", "All 3 services refused the token"))
	first.until("the receipts are counted", shows("receipts", "3 of 3 services have applied it"))
	first.want("the figures", "String([...document.querySelectorAll('.figure')].every((f) => /^[\\d.]+ms$/.test(f.textContent)))", "true")
	for _, b := range tabs {
		b.until("the log-off reached every tab", signedOut)
		b.until("and the services refuse its token", refusing+" && "+logged("token_revoked"))
		b.want("what was left of its life", "/It had [0-5]:[0-5][0-9] left/.exec(document.getElementById('log').textContent)?.length + ''", "1")
	}
	first.looksRight("logged off")
	tabs[1].looksRight("signed out by another tab")
	dev.finish(t)
}

// The button opens a tab that shares the session.
func TestBrowserDemoOpensASecondTab(t *testing.T) {
	t.Parallel()
	first, dev := startDemo(t)
	first.run(submit)
	first.until("the services accept the token", accepting)
	opened := chromedp.WaitNewTarget(first.ctx, func(info *target.Info) bool { return strings.HasPrefix(info.URL, dev.issuer) })
	first.run(click("second-tab"))
	ctx, cancel := chromedp.NewContext(first.ctx, chromedp.WithTargetID(<-opened))
	t.Cleanup(cancel)
	second := &tab{t, ctx}
	second.until("the second tab is signed in", signedIn+" && "+logged("Signed in already"))
	second.until("its services accept the token", accepting)
	second.run(click("log-off"))
	first.until("the first is signed out", signedOut+" && "+shows("why", "by another tab"))
	first.until("its token is refused", refusing)
	dev.finish(t)
}

// The late use of a copied cookie ends the session for the thief and for the user.
func TestBrowserDemoStolenCookie(t *testing.T) {
	t.Parallel()
	first, dev := startDemo(t)
	first.run(submit)
	first.until("the services accept the token", accepting)
	other := open(first.ctx, t)
	other.navigate(dev.issuer + "/")
	other.until("a second tab", signedIn)
	other.until("its services accept the token", accepting)
	first.run(click("stolen"))
	first.until("the broker detects it", logged("The broker refused the thief: refresh_token_reused."))
	first.until("three services refuse the owner's token", refusing+" && "+shows("headline", "ms after the thief"))
	first.until("the owner is signed out", signedOut+" && "+shows("why", "old cookie was detected"))
	other.until("in every tab", signedOut)
	first.looksRight("after the thief's request")
	first.run(submit)
	first.until("the owner signs in again", signedIn)
	first.until("the services accept the new token", accepting)
	dev.finish(t)
	for _, secret := range []string{"refresh_cookie", "eyJ"} {
		if strings.Contains(dev.logs.String(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

func TestBrowserDemoProvider(t *testing.T) {
	t.Parallel()
	first, dev := startDemo(t)
	first.run("document.querySelector('#providers a').click()")
	const hosted = "document.querySelector('form[action^=\"/login\"] input[name=username]')"
	first.until("the hosted page", hosted)
	first.run(fill("ada", "wrong"))
	first.until("it keeps the name that was typed", "document.querySelector('.bad') && document.querySelector('[name=username]').value === 'ada'")
	first.looksRight("hosted page")
	first.run(fill("ada", "ada"))
	first.until("back, signed in", signedIn+" && "+logged("Signed in with Cognito."))
	first.until("as ada", "document.getElementById('who').textContent === 'ada'")
	first.until("the services accept the token", accepting)
	first.want("a reload that did not happen", "String("+logged("reload")+")", "false")
	first.run(click("log-off"))
	first.until("three services refuse the token", refusing)
	first.until("the link to the provider's log-out", "document.getElementById('provider-log-out')")
	first.until("the receipts are counted", shows("receipts", "3 of 3"))
	first.looksRight("logged off")
	first.run(click("provider-log-out"))
	first.until("back, with a confirmation", signedOut+" && "+shows("why", "You are signed out, here and at Cognito."))
	first.until("the story goes on", refusing+" && "+logged("Signed in with Cognito.")+" && "+shows("receipts", "3 of 3"))
	first.looksRight("after the provider's log-out")

	first.run("document.querySelector('#providers a').click()")
	first.until("the provider asks for the password again", hosted)
	first.navigate(dev.issuer + "/?error=provider_error")
	first.until("a failed sign-in is in the form, in words", shows("problem", "did not sign you in"))
	first.want("the address", "location.search", "")
	dev.finish(t)
}

// Neither the broker nor serve has the demo's endpoint that copies cookies.
func TestServeHasNoThief(t *testing.T) {
	t.Parallel()
	dev := startDev(t)
	s := newServed(t, "http")
	s.start(t)
	for _, broker := range []string{s.issuer, dev.issuer} {
		for _, path := range []string{devserver.CookieThiefPath, devserver.CookieThiefPath + "use/"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, broker+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", broker)
			req.Header.Set("Cookie", "refresh_cookie=x")
			if status := statusOf(t, req); status != http.StatusNotFound {
				t.Errorf("POST %s at the broker: %d", path, status)
			}
		}
	}
	for _, path := range []string{"/web/demo.js", "/docs/http.md"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status := statusOf(t, req); status != http.StatusNotFound {
			t.Errorf("GET %s in serve: %d", path, status)
		}
	}
	s.finish(t)
	dev.finish(t)
}

func statusOf(t *testing.T, req *http.Request) int {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// looks returns what is wrong with the page: text with a contrast below 4.5:1 and borders of inputs
// below 3:1 (WCAG 2.2, 1.4.3 and 1.4.11), inputs that make a phone zoom, and what is too wide.
const looks = `(() => {
  const parse = (s) => { const m = s.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3])).concat(1);
  const lum = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
  const ground = (e) => { const layers = []; for (; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor)); return layers.reduce((under, layer) => over(layer, under), canvas); };
  const bad = [];
  for (const e of document.body.querySelectorAll("*")) {
    if (!e.checkVisibility()) continue;
    const s = getComputedStyle(e);
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.matches("input");
    if (text) {
      const bg = ground(e), opacity = (() => { let o = 1; for (let x = e; x; x = x.parentElement) o *= getComputedStyle(x).opacity; return o; })();
      const fg = parse(s.color); fg[3] *= opacity;
      const r = ratio(over(fg, bg), bg);
      if (r < 4.5) bad.push(e.tagName + "#" + e.id + "." + e.className + " contrast " + r.toFixed(2));
    }
    if (e.matches("input") && parseFloat(s.fontSize) < 16) bad.push("input " + s.fontSize);
    if (e.matches("input")) { const r = ratio(over(parse(s.borderTopColor), ground(e.parentElement)), ground(e.parentElement)); if (r < 3) bad.push("border " + r.toFixed(2)); }
    const box = e.getBoundingClientRect();
    if (box.right > innerWidth + 1) bad.push(e.tagName + "#" + e.id + " sticks out: " + box.right);
  }
  if (document.documentElement.scrollWidth > innerWidth) bad.push("scrolls sideways");
  return bad.join("; ");
})()`

// looksRight checks contrast (WCAG 2.2 AA), the size of inputs and the width of the page on a
// desktop and a phone, in light and dark.
func (b *tab) looksRight(state string) {
	b.t.Helper()
	for _, width := range []int64{1280, 390} {
		for _, scheme := range []string{"light", "dark"} {
			_, err := chromedp.Run(b.ctx, chromedp.Steps(chromedp.EmulateViewport(width, 844), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
				_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, media)
				return err
			})))
			if err != nil {
				b.t.Fatal(err)
			}
			if faults := b.value(looks); faults != "" {
				b.t.Errorf("%s, %d px, %s: %s", state, width, scheme, faults)
			}
		}
	}
}
