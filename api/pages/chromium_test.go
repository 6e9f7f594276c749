package pages_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
	"tokenbroker/internal/longtest"
)

// site is a broker whose user signs in, allows and signs out, and a client on another site (localhost and 127.0.0.1 are two).
type site struct {
	fake
	mu      sync.Mutex
	allowed bool
	client  string // URL
}

func (s *site) Authorize(_ context.Context, in broker.AuthorizationRequest, _ broker.Request) (*broker.Authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := consentStep()
	a.RedirectURI, a.ResponseMode, a.Answer = s.client+"/cb", in.Params.Get("response_mode"), url.Values{"code": {"c"}, "state": {in.Params.Get("state")}}
	switch {
	case in.RefreshToken == "":
		a.Step = broker.StepSignIn
	case s.allowed:
		a.Step = broker.StepRedirect
	}
	return &a, nil
}

func (s *site) Consent(ctx context.Context, in broker.AuthorizationRequest, decision broker.ConsentDecision, req broker.Request) (*broker.Authorization, error) {
	s.mu.Lock()
	s.allowed = decision.Allow
	s.mu.Unlock()
	return s.Authorize(ctx, in, req)
}

func (s *site) EndSession(_ context.Context, in broker.EndSessionRequest, _ broker.Request) (*broker.EndSession, error) {
	asks := in.RefreshToken != "" && in.CSRFToken == ""
	return &broker.EndSession{Ask: asks, LogOff: !asks && in.RefreshToken != "", CSRFToken: "csrf-1", UserName: "ada", ClientName: "Web Shop", RedirectURL: s.client + "/bye"}, nil
}

// chromium starts a browser. The host client.test is this machine.
func chromium(t *testing.T) context.Context {
	t.Helper()
	longtest.SkipShort(t, "starts a browser")
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("host-resolver-rules", "MAP client.test 127.0.0.1"))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	return ctx
}

// In a real browser, hosts are shown in full, however long they are and however narrow the window is: nothing is cut off or
// beside the card.
func TestChromiumShowsHostsInFull(t *testing.T) {
	ctx := chromium(t)
	label := strings.Repeat("w", 63)
	host := "accounts.google.com." + label + "." + label + "." + label + ".evil.co.uk"
	f := &fake{authorization: unverified(consentStep(), broker.ClassDocument)}
	f.authorization.ClientID, f.authorization.RedirectURI, f.authorization.ClientName = "https://"+host+"/"+strings.Repeat("p", 200), "https://"+host+"/cb", host
	h := serve(t, f)
	var mu sync.Mutex // guards f
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(own.Close)
	for _, width := range []int64{320, 390, 1280} {
		for _, step := range []broker.AuthorizationStep{broker.StepConsent, broker.StepSignIn, broker.StepRedirect} {
			mu.Lock()
			f.authorization.Step = step
			mu.Unlock()
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800)); err != nil {
				t.Fatal(err)
			}
			if _, err := chromedp.Run(ctx, chromedp.Navigate(own.URL+"/auth/authorize?"+request)); err != nil {
				t.Fatal(err)
			}
			wrong, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`(() => {
				const right = document.querySelector("main").getBoundingClientRect().right, wrong = []
				if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page is wider than the window")
				for (const e of document.querySelectorAll("main *")) {
					const style = getComputedStyle(e), box = e.getBoundingClientRect()
					if (box.right > right || e.scrollWidth > e.clientWidth && e.clientWidth > 0 || style.textOverflow == "ellipsis" || style.overflow != "visible" && e.closest("svg, input, button") == null)
						wrong.push(e.tagName + " " + e.className + " at " + box.right + " of " + right)
				}
				return wrong
			})()`))
			if err != nil || len(wrong) > 0 {
				t.Errorf("step %v at %d px: %v, %q", step, width, err, wrong)
			}
		}
	}
}

// In a real browser, the answer that the user did not decide about stays on the page until a click, which the page's policy does
// not block.
func TestChromiumLeavesByAClick(t *testing.T) {
	ctx := chromium(t)
	var mu sync.Mutex // guards received
	var received []string
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		mu.Lock()
		defer mu.Unlock()
		received = append(received, r.Method+" "+r.URL.Path+" "+r.Form.Get("error"))
		_, _ = w.Write([]byte("<!doctype html><link rel=icon href=data:,><p id=client>"))
	}))
	t.Cleanup(client.Close)
	for mode, want := range map[string]string{"query": "GET /cb invalid_scope", "form_post": "POST /cb invalid_scope"} {
		uri := strings.Replace(client.URL, "127.0.0.1", "client.test", 1) + "/cb"
		f := &fake{authorization: unverified(redirectStep(uri, mode, url.Values{"error": {"invalid_scope"}}), broker.ClassDocument)}
		own := httptest.NewServer(serve(t, f))
		t.Cleanup(own.Close)
		if _, err := chromedp.Run(ctx, chromedp.Navigate(own.URL+"/auth/authorize?"+request)); err != nil {
			t.Fatal(err)
		}
		err := chromedp.Do(ctx, chromedp.WaitVisible("#leave"))
		mu.Lock()
		if err != nil || len(received) > 0 {
			t.Errorf("%s: %v, before the click the client received %q", mode, err, received)
		}
		mu.Unlock()
		if err := chromedp.Do(ctx, chromedp.Click("#leave"), chromedp.WaitReady("#client")); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		mu.Lock()
		if len(received) != 1 || received[0] != want {
			t.Errorf("%s: the client received %q, want %q", mode, received, want)
		}
		received = nil
		mu.Unlock()
	}
}

// In a real browser, a client on another site gets single sign-on, no form or redirect is blocked by the policy of a page, and
// nothing is written to the console.
func TestChromiumFollowsThePages(t *testing.T) {
	ctx := chromium(t)
	s := &site{}
	var pagesHandler http.Handler
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		pagesHandler.ServeHTTP(w, r)
	}))
	t.Cleanup(own.Close)
	pagesHandler = serve(t, &s.fake, func(cfg *pages.Config, at *httpapi.SiteConfig) {
		at.Issuer, at.Origins = own.URL, nil
		cfg.Cookie.Insecure, cfg.Authorizations, cfg.Logouts = true, s, s
	})
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_ = r.ParseForm()
		_, _ = fmt.Fprintf(w, `<!doctype html><link rel="icon" href="data:,"><title>%s %s code=%s state=%s</title><a id="go" href="%s/auth/authorize?state=1">query</a>
<a id="again" href="%s/auth/authorize?state=4">query</a>
<a id="post" href="%s/auth/authorize?state=2&amp;response_mode=form_post">form</a>
<form action="%s/auth/authorize" method="post"><input name="state" value="3"><button id="by-post">post</button></form>
<a id="out" href="%s/auth/logout">out</a>`, r.Method, r.URL.Path, r.Form.Get("code"), r.Form.Get("state"), own.URL, own.URL, own.URL, own.URL, own.URL)
	}))
	t.Cleanup(client.Close)
	s.client = strings.Replace(client.URL, "127.0.0.1", "localhost", 1)

	var console []string
	var mu sync.Mutex
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			console = append(console, string(e.Entry.Level)+": "+e.Entry.Text)
		case *runtime.EventConsoleAPICalled, *runtime.EventExceptionThrown:
			console = append(console, fmt.Sprintf("%T", event))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// click clicks an element and waits until the browser is at a page of that title.
	click := func(id, title string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Click("#"+id)); err != nil {
			t.Fatalf("clicking %s: %v", id, err)
		}
		var got string
		for end := time.Now().Add(time.Minute); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
			if got, _ = chromedp.Run(ctx, chromedp.Title()); got == title { // an error is a page that is on its way
				return
			}
		}
		t.Fatalf("after %s, the page is %q, want %q", id, got, title)
	}
	if _, err := chromedp.Run(ctx, chromedp.Navigate(s.client+"/")); err != nil {
		t.Fatal(err)
	}
	click("go", "Sign in · Sign-in service")
	if err := chromedp.Do(ctx, chromedp.SendKeys("#username", "ada"), chromedp.SendKeys("#password", "correct horse")); err != nil {
		t.Fatal(err)
	}
	click("submit", "Web Shop asks for access · Sign-in service")
	click("consent-allow", "GET /cb code=c state=1")
	click("again", "GET /cb code=c state=4")
	click("post", "POST /cb code=c state=2")
	click("by-post", "GET /cb code=c state=3")
	click("out", "Sign out? · Sign-in service")
	click("logout-confirm", "GET /bye code= state=")
	click("go", "Sign in · Sign-in service")

	mu.Lock()
	defer mu.Unlock()
	if len(console) > 0 {
		t.Errorf("the console has %q", console)
	}
}
