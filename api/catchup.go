package api

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenbroker/revocation"
)

// CatchupAnswer is an encoded answer; whoever got it closes it.
type CatchupAnswer interface {
	io.WriterTo
	io.Closer
	// Size is the number of bytes that WriteTo writes.
	Size() int64
}

const (
	// catchupGrace and catchupRate bound how long a reader may take: so long, and a second
	// for so many bytes.
	catchupGrace = 30 * time.Second
	catchupRate  = 1 << 20
)

// aliveEvery is how often a request that waits for its answer hears from us: a service
// gives up after 4 s without a byte, and a million events may take longer to read.
const aliveEvery = time.Second

// keepAlive sends 102 Processing (RFC 2518 §10.1) until it is stopped, which waits for the
// one on its way and may be called again. The server's write timeout bounds it. HTTP/1.0 knows no such answers (RFC 9110 §15.2).
func keepAlive(w http.ResponseWriter, r *http.Request) (stop func()) {
	if !r.ProtoAtLeast(1, 1) {
		return func() {}
	}
	for { // to the server's own: those around it keep one status only
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = inner.Unwrap()
	}
	var mu sync.Mutex
	stopped := false // mu guards it, and w until then
	var timer *time.Timer
	mu.Lock()
	timer = time.AfterFunc(aliveEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			w.WriteHeader(http.StatusProcessing)
			timer.Reset(aliveEvery)
		}
	})
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// writeCatchup ends an answer and gives it back. It is written from where it lies, shared
// with other requests. A caller that went away is not an error of ours.
func writeCatchup(w http.ResponseWriter, as revocation.Form, answer CatchupAnswer) {
	defer func() { _ = answer.Close() }()
	h := w.Header()
	h.Set("Content-Type", string(as))
	h.Set("Content-Length", strconv.FormatInt(answer.Size(), 10))
	patience := catchupGrace + time.Duration(answer.Size()/catchupRate)*time.Second
	// A writer that knows no deadlines keeps the server's own.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
	w.WriteHeader(http.StatusOK)
	_, _ = answer.WriteTo(w)
}

// catchupForm chooses what Accept prefers (RFC 9110 §12.5.1). Only who names the binary
// form gets it; who accepts neither gets JSON.
func catchupForm(h http.Header) revocation.Form {
	var text, packed float64
	named := false
	for one := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(one)
		if err != nil {
			continue
		}
		q := 1.0
		if given, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(given, 64); err != nil {
				continue
			}
		}
		switch {
		case kind == string(revocation.FormBinary):
			packed = max(packed, q)
		case kind == string(revocation.FormJSON):
			text, named = q, true
		case !named && (kind == "*/*" || kind == "application/*"):
			text = max(text, q)
		}
	}
	if packed > 0 && packed >= text {
		return revocation.FormBinary
	}
	return revocation.FormJSON
}
