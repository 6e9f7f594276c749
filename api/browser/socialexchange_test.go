package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestExchangeNonceSetsACookie(t *testing.T) {
	for name, tc := range map[string]struct {
		insecure bool
		want     http.Cookie
	}{
		"http on loopback": {true, http.Cookie{Name: "tb_nonce_suffix1", Path: "/auth"}},
		"https":            {false, http.Cookie{Name: "__Host-tb_nonce_suffix1", Path: "/", Secure: true}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Logins{Names: []string{"corp"}, Fake: &apitest.Fake{}}
			cfg := apitest.Config(f.Fake)
			cfg.Browser.Logins, cfg.Browser.Cookie.Insecure = f, tc.insecure
			if !tc.insecure {
				cfg.Issuer, cfg.Origins = "https://auth.example.com", nil
			}
			h, err := api.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			resp := apitest.Get(h, "/auth/exchange-nonce")
			var body map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(body); resp.StatusCode != http.StatusOK || got != "map[expires:1.8000006e+09 expires_in:599 nonce:n1]" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %s %v", resp.StatusCode, got, resp.Header)
			}
			set := resp.Cookies()
			if len(set) != 1 || set[0].Name != tc.want.Name || set[0].Value != "bound" || set[0].Path != tc.want.Path || set[0].Secure != tc.want.Secure ||
				!set[0].HttpOnly || set[0].SameSite != http.SameSiteStrictMode || set[0].MaxAge != 600 || set[0].Domain != "" {
				t.Errorf("cookies %+v", set)
			}
		})
	}
}

// TestOpenNoncesAreBounded: tabs do not overwrite each other's nonces, and the oldest is removed.
func TestOpenNoncesAreBounded(t *testing.T) {
	_, h := apitest.NewWithLogins(t, "corp")
	jar := map[string]string{}
	for range 8 {
		var sent []string
		for i := 1; i <= 8; i++ { // browsers send the oldest first
			if name := fmt.Sprintf("tb_nonce_suffix%d", i); jar[name] != "" {
				sent = append(sent, name+"="+jar[name])
			}
		}
		for _, c := range apitest.Get(h, "/auth/exchange-nonce/", strings.Join(append(sent, "tb_login_x=sealed"), "; ")).Cookies() {
			if c.MaxAge < 0 {
				delete(jar, c.Name)
			} else {
				jar[c.Name] = c.Value
			}
		}
	}
	if got := fmt.Sprint(jar); got != "map[tb_nonce_suffix4:bound tb_nonce_suffix5:bound tb_nonce_suffix6:bound tb_nonce_suffix7:bound tb_nonce_suffix8:bound]" {
		t.Errorf("cookies %s", got)
	}
}

func TestExchangeNonceIsForTheOwnPages(t *testing.T) {
	_, h := apitest.NewWithLogins(t, "corp")
	for header, want := range map[[2]string]int{
		{"Origin", "https://evil.test"}: 403, {"Origin", "null"}: 403, {"Sec-Fetch-Site", "cross-site"}: 403,
		{"Origin", apitest.SPA}: 200, {"Sec-Fetch-Site", "same-origin"}: 200,
	} {
		r := httptest.NewRequest(http.MethodGet, "/auth/exchange-nonce", nil)
		r.Header.Set(header[0], header[1])
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want || want == 403 && len(w.Result().Cookies()) > 0 {
			t.Errorf("%v: %d, cookies %v", header, w.Code, w.Result().Cookies())
		}
	}
}

func TestSocialExchangeReadsTheNoncesCookie(t *testing.T) {
	f, h := apitest.NewWithLogins(t, "corp")
	f.Nonce = "abc"
	post := func(cookies string) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/auth/social-exchange/", strings.NewReader(`{"id_token":"i"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Cookie", cookies)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	cleared := func(resp *http.Response) bool {
		for _, c := range resp.Cookies() {
			if c.Name == "tb_nonce_abc" && c.MaxAge < 0 {
				return true
			}
		}
		return false
	}
	if resp := post("tb_nonce_other=x; tb_nonce_abc=mine"); resp.StatusCode != http.StatusOK || f.NonceCookie != "mine" || !cleared(resp) {
		t.Errorf("with its cookie: %d, read %q, cookies %v", resp.StatusCode, f.NonceCookie, resp.Cookies())
	}
	if resp := post("tb_nonce_other=x; tb_login_abc=y"); f.NonceCookie != "" {
		t.Errorf("without its cookie: %d, read %q", resp.StatusCode, f.NonceCookie)
	}
	if resp := post("tb_nonce_abc=planted; tb_nonce_abc=mine"); resp.StatusCode != http.StatusBadRequest || cleared(resp) {
		t.Errorf("with its cookie twice: %d, cookies %v", resp.StatusCode, resp.Cookies())
	}
	f.Err = &broker.Error{Code: broker.CodeBusy}
	if resp := post("tb_nonce_abc=mine"); resp.StatusCode != http.StatusServiceUnavailable || cleared(resp) {
		t.Errorf("refused temporarily: %d, cookies %v", resp.StatusCode, resp.Cookies())
	}
}
