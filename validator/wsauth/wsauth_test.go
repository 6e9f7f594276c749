package wsauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
	"tokenbroker/validator/wsauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a service with an echo behind its WebSocket.
type rig struct {
	issuer *validatortest.Issuer
	v      *validator.Validator
	url    string
	ended  chan error // why serve's context ended
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{issuer: validatortest.New(t), ended: make(chan error, 1)}
	var err error
	if r.v, err = validator.New(t.Context(), r.issuer.Config("test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.v.Close)
	echo := func(ctx context.Context, conn *websocket.Conn) {
		for {
			kind, message, err := conn.Read(ctx)
			if err == nil {
				err = conn.Write(ctx, kind, message)
			}
			if err != nil {
				<-ctx.Done()
				r.ended <- context.Cause(ctx)
				return
			}
		}
	}
	server := httptest.NewServer(httpauth.Require(r.v)(wsauth.Handler(r.v, nil, echo)))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *rig) dial(t *testing.T, token string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), r.url, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, resp, err
}

func TestARevokedTokensWebSocketIsClosedWith4401(t *testing.T) {
	for want, end := range map[string]func(*rig){
		"token_revoked":    func(r *rig) { r.issuer.RevokeSession("s1") },
		"validator_closed": func(r *rig) { r.v.Close() },
	} {
		r := start(t)
		conn, _, err := r.dial(t, r.issuer.Mint(validatortest.Claims{"sid": "s1"}))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		end(r)
		_, _, err = conn.Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 4401 || closed.Reason != want {
			t.Errorf("got %v, want 4401 %s", err, want)
		}
		if cause := <-r.ended; want == "token_revoked" && !errors.Is(cause, validator.ErrRevoked) {
			t.Errorf("serve's context ended because of %v", cause)
		}
	}
}

// A peer that neither reads nor answers holds the handler for about a second.
func TestPeerThatDoesNotAnswerIsDisconnected(t *testing.T) {
	r := start(t)
	if _, _, err := r.dial(t, r.issuer.Mint(validatortest.Claims{"sid": "s1"})); err != nil {
		t.Fatal(err)
	}
	r.issuer.RevokeSession("s1")
	select {
	case cause := <-r.ended:
		if !errors.Is(cause, validator.ErrRevoked) {
			t.Errorf("ended because of %v", cause)
		}
	case <-time.After(time.Minute):
		t.Fatal("the handler goes on")
	}
}

func TestWebSocketWithoutATokenIsRefused(t *testing.T) {
	r := start(t)
	_, resp, err := r.dial(t, "none")
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%v", err)
	}
	recorder := httptest.NewRecorder()
	wsauth.Handler(r.v, nil, nil).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	if recorder.Code != http.StatusUnauthorized || !strings.Contains(recorder.Body.String(), "code") {
		t.Errorf("without claims: %d %s", recorder.Code, recorder.Body)
	}
}

func TestARefusedHandshakeIsReported(t *testing.T) {
	issuer := validatortest.New(t)
	v, err := validator.New(t.Context(), issuer.Config("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var got error
	protected := httpauth.Require(v, httpauth.Logger(nil), httpauth.OnRefused(func(_ *http.Request, err error) { got = err }))(
		wsauth.Handler(v, nil, func(context.Context, *websocket.Conn) { t.Error("accepted") }))
	r := httptest.NewRequest(http.MethodGet, "http://api.example.com/ws", nil)
	for name, value := range map[string]string{
		"Authorization": "Bearer " + issuer.Mint(nil), "Origin": "https://evil.example", "Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
	} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	protected.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || got == nil || !strings.Contains(got.Error(), "evil.example") {
		t.Errorf("%d, %v", w.Code, got)
	}
}
