package httpauth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

// refusing serves one request with a real validator and returns what was logged and hooked.
func refusing(t *testing.T, v httpauth.Validator, r *http.Request, options ...httpauth.Option) (log string, code int, err error) {
	t.Helper()
	var out bytes.Buffer
	options = append(options, httpauth.Logger(slog.New(slog.NewTextHandler(&out, nil))), httpauth.OnRefused(func(_ *http.Request, e error) { err = e }))
	w := httptest.NewRecorder()
	httpauth.Require(v, options...)(http.HandlerFunc(hello)).ServeHTTP(w, r)
	return out.String(), w.Code, err
}

func TestTheReasonOfARefusalIsLogged(t *testing.T) {
	issuer := validatortest.New(t)
	v, err := validator.New(t.Context(), issuer.Config("my-api"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	now := time.Now().Unix()
	type claims = validatortest.Claims
	mint := func(c claims) string {
		if _, other := c["aud"]; !other {
			c["aud"] = "my-api"
		}
		return issuer.Mint(c)
	}
	issuer.RevokeSession("gone")
	validatortest.Await(t, v, mint(claims{"sid": "gone"}), validator.ErrRevoked)
	long := strings.Repeat("a", 5000)
	for name, row := range map[string]struct {
		token string
		field string // "": no mismatch
		want  string
		is    error
		level string
	}{
		"audience":        {mint(claims{"aud": "demo-api"}), "aud", "audience: token has demo-api, this service expects my-api", validator.ErrInvalid, "WARN"},
		"audiences":       {mint(claims{"aud": []string{"a", "b"}}), "aud", "audience: token has a, b, this service expects my-api", validator.ErrInvalid, "WARN"},
		"many audiences":  {mint(claims{"aud": strings.Split("abcdefghi", "")}), "aud", "audience: token has a, b, c, d, 5 more, this", validator.ErrInvalid, "WARN"},
		"long audience":   {mint(claims{"aud": long}), "aud", "audience: token has " + long[:64] + "... (5000 bytes), this", validator.ErrInvalid, "WARN"},
		"hostile":         {mint(claims{"aud": "x\nlevel=INFO msg=\"all is well\""}), "aud", `token has \"x\\nlevel=INFO msg=\\\"all is well\\\"\", this`, validator.ErrInvalid, "WARN"},
		"issuer":          {mint(claims{"iss": "http://localhost:8080"}), "iss", "issuer: token has http://localhost:8080, this service expects " + issuer.URL(), validator.ErrInvalid, "WARN"},
		"future":          {mint(claims{"iat": now + 3600, "nbf": now, "exp": now + 3700}), "iat", "iat: token has ", validator.ErrInvalid, "WARN"},
		"not before":      {mint(claims{"nbf": now + 200}), "nbf", "nbf: token has ", validator.ErrInvalid, "WARN"},
		"lives too long":  {mint(claims{"exp": now + 7200}), "lifetime", "lifetime: token has 2h0m0s, this service expects at most 15m0s", validator.ErrInvalid, "WARN"},
		"expired":         {mint(claims{"iat": now - 400, "exp": now - 100}), "exp", "token expired: exp: token has ", validator.ErrExpired, "INFO"},
		"revoked":         {mint(claims{"sid": "gone"}), "", "token revoked: by the denylist", validator.ErrRevoked, "INFO"},
		"an ID token":     {issuer.Sign([]byte(`{}`), map[string]any{"typ": "JWT"}), "typ", "typ: token has JWT, this service expects at+jwt", validator.ErrInvalid, "WARN"},
		"unknown key":     {issuer.Sign([]byte(`{}`), map[string]any{"kid": "old"}), "kid", "kid: token has old, this service expects a key", validator.ErrInvalid, "WARN"},
		"no signature":    {swapped(mint(claims{}), mint(claims{})), "", "token invalid: signature", validator.ErrInvalid, "WARN"},
		"no claims":       {issuer.Sign([]byte(`{}`), nil), "", "the claim iss is missing", validator.ErrInvalid, "WARN"},
		"missing a scope": {mint(claims{"scope": "profile"}), "scope", "scope: token has profile, this service expects hello:read", httpauth.ErrInsufficientScope, "WARN"},
		"no scope":        {mint(claims{}), "scope", "scope: token has none, this service expects hello:read", httpauth.ErrInsufficientScope, "WARN"},
		"no token":        {"", "", "no bearer token in the Authorization header", httpauth.ErrTokenMissing, "INFO"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/orders/7?secret=1", nil)
			if row.token != "" {
				r.Header.Set("Authorization", "Bearer "+row.token)
			}
			log, _, got := refusing(t, v, r, httpauth.Scope("hello:read"))
			if !errors.Is(got, row.is) || !strings.Contains(log, row.want) || !strings.Contains(log, "level="+row.level) {
				t.Errorf("hook %v\nlog %s", got, log)
			}
			var m *validator.Mismatch
			if errors.As(got, &m) != (row.field != "") || m != nil && m.Field != row.field {
				t.Errorf("mismatch %+v, want of %q", m, row.field)
			}
			if strings.Count(log, "\n") != 1 || strings.Contains(log, "secret") || !strings.Contains(log, "path=/orders/7 ") && !strings.HasSuffix(log, "path=/orders/7\n") {
				t.Errorf("log %s", log)
			}
			for _, part := range strings.Split(row.token, ".") {
				if part != "" && strings.Contains(log+got.Error(), part[:min(len(part), 12)]) {
					t.Errorf("the log contains a part of the token: %s", log)
				}
			}
			if len(log) > 1200 {
				t.Errorf("%d bytes", len(log))
			}
		})
	}
}

// swapped is a token with another one's signature.
func swapped(token, other string) string {
	return token[:strings.LastIndexByte(token, '.')] + other[strings.LastIndexByte(other, '.'):]
}

func TestRefusalsAreLoggedAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		hooked := 0
		protected := httpauth.Require(fake, httpauth.Logger(slog.New(slog.NewTextHandler(&out, nil))),
			httpauth.OnRefused(func(*http.Request, error) { hooked++ }))(http.HandlerFunc(hello))
		send := func(n int, token string) {
			for range n {
				r := httptest.NewRequest("GET", "/hello", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				protected.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		send(100, "bad")
		send(1, "revoked") // another reason has its own lines
		if lines := strings.Count(out.String(), "\n"); lines != 4 || hooked != 101 {
			t.Errorf("%d lines, %d hooked:\n%s", lines, hooked, &out)
		}
		out.Reset()
		time.Sleep(10 * time.Second)
		send(5, "bad")
		if !strings.Contains(out.String(), "not_logged=97") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("after ten seconds:\n%s", &out)
		}
	})
}

func TestWithoutALoggerNothingIsLogged(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	defer slog.SetDefault(before)
	r := httptest.NewRequest("GET", "/hello", nil)
	r.Header.Set("Authorization", "Bearer bad")
	if serve(r, httpauth.Logger(nil)); out.Len() != 0 {
		t.Errorf("logged %s", &out)
	}
	if serve(r); !strings.Contains(out.String(), "code=token_invalid") {
		t.Errorf("the default logger got %q", &out)
	}
}

func TestAHandlerInsideReportsWhatItRefuses(t *testing.T) {
	var out bytes.Buffer
	var got error
	cause := errors.New("role: admin is required")
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpauth.Refused(r, cause)
		w.WriteHeader(http.StatusForbidden)
	})
	r := httptest.NewRequest("GET", "/hello", nil)
	r.Header.Set("Authorization", "Bearer good")
	httpauth.Require(fake, httpauth.Logger(slog.New(slog.NewTextHandler(&out, nil))),
		httpauth.OnRefused(func(_ *http.Request, e error) { got = e }))(inner).ServeHTTP(httptest.NewRecorder(), r)
	if !errors.Is(got, cause) || !strings.Contains(out.String(), `reason="role: admin is required"`) {
		t.Errorf("%v, %s", got, &out)
	}
}

func TestAForbiddenOriginIsNamed(t *testing.T) {
	r := httptest.NewRequest("OPTIONS", "/hello", nil)
	r.Header.Set("Origin", "http://localhost:5173")
	r.Header.Set("Access-Control-Request-Method", "GET")
	log, _, err := refusing(t, fake, r, httpauth.AllowOrigins("https://app.example.com"))
	if !errors.Is(err, httpauth.ErrForbiddenOrigin) || !strings.Contains(log, `add \"http://localhost:5173\" to AllowOrigins`) {
		t.Errorf("%v, %s", err, log)
	}
}

func TestDisconnectedClientIsNotAWarning(t *testing.T) {
	r := httptest.NewRequest("GET", "/hello", nil)
	r.Header.Set("Authorization", "Bearer gone")
	if log, code, err := refusing(t, fake, r); !errors.Is(err, context.Canceled) || code != 503 || !strings.Contains(log, "level=INFO") || !strings.Contains(log, "validator_unavailable") {
		t.Errorf("%v, %d, %s", err, code, log)
	}
}
