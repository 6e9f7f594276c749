package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tokenbroker/broker"
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

// A reader of the feed closes a connection after 4 s without a byte. An answer that is not there
// after catchupWait is refused, and the reader asks again after catchupRetry. Interim (1xx) answers
// would not do: nginx takes them for the answer.
const (
	catchupWait  = 3 * time.Second
	catchupRetry = time.Second
)

// catchup gets the answer, or the refusal that has the caller ask again.
func (s *server) catchup(ctx context.Context, client, after string, as revocation.Form) (CatchupAnswer, error) {
	waiting, cancel := context.WithTimeout(ctx, catchupWait)
	defer cancel()
	answer, err := s.cfg.Catchup.Answer(waiting, client, after, as)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, &broker.Error{
			Code: broker.CodeUnavailable, Message: "the answer is still being prepared; ask again", RetryAfter: catchupRetry, Err: err,
		}
	}
	return answer, err
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
