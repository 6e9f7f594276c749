package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"tokenbroker/broker"
	"tokenbroker/validator"
)

// BenchmarkVerifyHTTP measures POST /auth/verify/ over loopback from 64 keep-alive clients, each with its
// own token that was validated before. Its floor is a gin handler that reads the same body and writes the
// same answer with the same headers.
func BenchmarkVerifyHTTP(b *testing.B) {
	benchAnswers(b, func(url, token string) (*http.Request, error) {
		req, err := newPost(url+"/auth/verify/", `{"token":"`+token+`"}`)
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
		}
		return req, err
	})
}

// BenchmarkIntrospectHTTP measures POST /oauth2/introspect with the same floor.
func BenchmarkIntrospectHTTP(b *testing.B) {
	benchAnswers(b, func(to, token string) (*http.Request, error) {
		req, err := newPost(to+"/oauth2/introspect", url.Values{"token": {token}}.Encode())
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth(serviceClient, serviceSecret)
		}
		return req, err
	})
}

func newPost(url, body string) (*http.Request, error) {
	return http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
}

func benchAnswers(b *testing.B, request func(url, token string) (*http.Request, error)) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(client.CloseIdleConnections)
	r := newRig(b, nil)
	if err := r.PutClient(b.Context(), broker.Client{ID: serviceClient, Secret: serviceSecret}); err != nil {
		b.Fatal(err)
	}
	own, err := validator.NewInProcess(validator.InProcessConfig{
		Issuer: issuer, Audiences: []string{"demo-api"}, Keys: r.keys.Verifier, Denylist: r.denylist, Now: r.now, MaxLifetime: 5 * time.Minute,
	})
	if err != nil {
		b.Fatal(err)
	}
	served := serveAPI(b, r, verifier{own})
	grants := r.signIn(b, clients)
	ask := func(to string) func(int) error {
		return func(i int) error {
			req, err := request(to, grants[i].AccessToken)
			if err != nil {
				return err
			}
			_, _, err = exchange(client, req)
			return err
		}
	}
	req, err := request(served, grants[0].AccessToken)
	if err != nil {
		b.Fatal(err)
	}
	header, body, err := exchange(client, req)
	if err != nil || !strings.Contains(string(body), grants[0].SID) {
		b.Fatalf("answer %s, %v", body, err)
	}
	measure(b, clients, ask(served), peer{name: "gin-same-bytes", work: ask(serveBytes(b, header, body)), share: 1})
}

// exchange returns the whole response, whose status must be 200.
func exchange(client *http.Client, req *http.Request) (http.Header, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", req.URL, resp.StatusCode, body)
	}
	return resp.Header, body, err
}

// serveBytes returns a gin server that reads the request and always sends the same response.
func serveBytes(tb testing.TB, header http.Header, body []byte) (url string) {
	tb.Helper()
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.POST("/*path", func(c *gin.Context) {
		if _, err := io.ReadAll(c.Request.Body); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		for name, values := range header {
			if name != "Date" {
				c.Writer.Header()[name] = values
			}
		}
		c.Writer.WriteHeader(http.StatusOK)
		_, _ = c.Writer.Write(body)
	})
	server := httptest.NewServer(e)
	tb.Cleanup(server.Close)
	return server.URL
}

// verifier makes the validator an [oauth.Verifier], as the binary does.
type verifier struct{ own *validator.Validator }

// Verify implements [oauth.Verifier].
func (v verifier) Verify(ctx context.Context, token string) (json.RawMessage, error) {
	claims, err := v.own.Validate(ctx, token)
	if err != nil {
		return nil, err
	}
	return claims.Raw(), nil
}
