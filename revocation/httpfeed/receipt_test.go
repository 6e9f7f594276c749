package httpfeed

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/internal/pipehttp"
	"tokenbroker/revocation"
)

// sender opens a feed at a broker that implements only receipt.
func sender(t *testing.T, receipt http.HandlerFunc) revocation.ReceiptSender {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /base/revocations/receipt", receipt)
	srv := &httptest.Server{Config: &http.Server{Handler: mux}}
	pipehttp.Start(t, srv)
	feed, err := Feed{
		URL: srv.URL + "/base/", Client: Client{ID: "orders", Secret: "s3cret"}, HTTPClient: srv.Client(), timing: quick,
	}.Open(t.Context(), newSink())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := feed.Close(); err != nil {
			t.Error(err)
		}
	})
	return feed.(revocation.ReceiptSender)
}

func aReceipt() revocation.Receipt {
	return revocation.Receipt{V: 1, Service: "orders/x", Applied: map[string]uint64{"o1": 3}, Fresh: true, AgeMS: 7}
}

func TestAReceiptIsPosted(t *testing.T) {
	var got []byte
	s := sender(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		if id, secret, _ := r.BasicAuth(); id != "orders" || secret != "s3cret" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s, headers %v", id, r.Header)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	if err := s.SendReceipt(t.Context(), aReceipt()); err != nil {
		t.Fatal(err)
	}
	if want := `{"v":1,"service":"orders/x","applied":{"o1":3},"fresh":true,"age_ms":7}`; string(got) != want {
		t.Errorf("posted %s", got)
	}
	bad := aReceipt()
	bad.Service = ""
	if err := s.SendReceipt(t.Context(), bad); !errors.Is(err, revocation.ErrMalformed) {
		t.Errorf("a receipt without a service: %v", err)
	}
}

func TestRefusedReceiptIsAnError(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusOK:                  "/revocations/receipt answers 200 OK",
		http.StatusUnauthorized:        "answers 401 Unauthorized: check the client's id and secret",
		http.StatusNotFound:            "answers 404 Not Found",
		http.StatusTemporaryRedirect:   "answers 307 Temporary Redirect",
		http.StatusServiceUnavailable:  "answers 503 Service Unavailable",
		http.StatusInternalServerError: "answers 500",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			asked := 0
			s := sender(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Location", r.URL.Path) // would be followed without end
				w.WriteHeader(status)
			})
			err := s.SendReceipt(t.Context(), aReceipt())
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want %s", err, want)
			}
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

func TestAReceiptEndsWithItsContextAndByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sender(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // the server notices the end of the request only after reading the body
			<-r.Context().Done()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := s.SendReceipt(ctx, aReceipt()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		before := time.Now()
		if err := s.SendReceipt(t.Context(), aReceipt()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if d := time.Since(before); d != receiptTimeout {
			t.Errorf("ended after %v", d)
		}
	})
}
