package httpauth_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

func TestStreamReportsWhyItEnds(t *testing.T) {
	for want, end := range map[string]func(*validator.Validator, *validatortest.Issuer){
		"event: revoked\ndata: {\"code\":\"token_revoked\"}\n\n":   func(_ *validator.Validator, i *validatortest.Issuer) { i.RevokeSession("s1") },
		"event: closed\ndata: {\"code\":\"validator_closed\"}\n\n": func(v *validator.Validator, _ *validatortest.Issuer) { v.Close() },
	} {
		issuer := validatortest.New(t)
		v, err := validator.New(t.Context(), issuer.Config("test"))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		events := func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "data: hello\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			if err := httpauth.WriteEnd(r.Context(), w); err != nil {
				t.Error(err)
			}
		}
		server := httptest.NewServer(httpauth.Require(v)(httpauth.Stream(v)(http.HandlerFunc(events))))
		defer server.Close()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		req.Header.Set("Authorization", "Bearer "+issuer.Mint(validatortest.Claims{"sid": "s1"}))
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body := bufio.NewReader(resp.Body)
		if line, err := body.ReadString('\n'); err != nil || line != "data: hello\n" {
			t.Fatalf("%q, %v", line, err)
		}
		end(v, issuer)
		rest, err := io.ReadAll(body)
		if got := strings.TrimPrefix(string(rest), "\n"); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

type endedBinder struct{ cause error }

func (b endedBinder) Bind(ctx context.Context, _ *validator.Claims) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(b.cause)
	return ctx, func() {}
}

func TestEndedReportsOnlyTheEndOfTheToken(t *testing.T) {
	for want, cause := range map[string]error{"token_revoked": validator.ErrRevoked, "token_expired": validator.ErrExpired, "": context.Canceled} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if httpauth.Ended(r.Context()) != "" {
			t.Error("a context that goes on has a code")
		}
		r = r.WithContext(validator.NewContext(r.Context(), &validator.Claims{}))
		httpauth.Stream(endedBinder{cause})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := httpauth.Ended(r.Context()); got != want {
				t.Errorf("%v: %q", cause, got)
			}
			_ = httpauth.WriteEnd(r.Context(), w)
		})).ServeHTTP(w, r)
		if want == "" && w.Body.Len() > 0 {
			t.Error("wrote to a client that has gone")
		}
	}
}

func TestAStreamWithoutClaimsIsRefused(t *testing.T) {
	w := httptest.NewRecorder()
	httpauth.Stream(endedBinder{})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the handler runs")
	})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("answered %d", w.Code)
	}
}
