package feed

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Catchup answers catch-up requests of services.
// Errors are [*broker.Error] where the caller may know the reason, with
// [httpapi.CodeInvalidPosition] if the position cannot be read and [httpapi.CodeProtocolOutdated] if the service has to
// understand several brokers.
// Answers may be shared between requests; the handler closes each after writing it. When ctx ends by its
// deadline, after 3 s, the answer asks the caller to retry, because the next call should find the finished answer.
type Catchup interface {
	Answer(ctx context.Context, r Reader, as revocation.Form) (CatchupAnswer, error)
}

// CatchupAnswer is an encoded answer. The caller of [Catchup] closes it.
type CatchupAnswer interface {
	io.WriterTo
	io.Closer
	// Size is the number of bytes that WriteTo writes.
	Size() int64
}

const (
	// A reader may take catchupGrace and one second for each catchupRate bytes.
	catchupGrace = 30 * time.Second
	catchupRate  = 1 << 20
)

// A reader of the feed closes a connection after 4 s without a byte. An answer that is not there
// after catchupWait is refused, and the reader asks again after catchupRetry. Interim (1xx) answers
// do not help: nginx takes them for the answer.
const (
	catchupWait  = 3 * time.Second
	catchupRetry = time.Second
)

// catchup is GET /revocations?after=position&speaks=2 for services: client id and secret by
// Basic. The answer is never cached, and written in the form that Accept prefers.
func (h *Handler) catchup(w http.ResponseWriter, r *http.Request) error {
	reader, err := h.reader(r)
	if err != nil {
		return err
	}
	w.Header().Add("Vary", "Accept")
	as := catchupForm(r.Header)
	answer, err := h.answer(r.Context(), reader, as)
	if err != nil {
		return err
	}
	writeCatchup(w, as, answer)
	return nil
}

// answer returns the answer, or a refusal that asks the caller to retry.
func (h *Handler) answer(ctx context.Context, r Reader, as revocation.Form) (CatchupAnswer, error) {
	waiting, cancel := context.WithTimeout(ctx, catchupWait)
	defer cancel()
	answer, err := h.cfg.Catchup.Answer(waiting, r, as)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, &broker.Error{
			Code: broker.CodeUnavailable, Message: "the answer is still being prepared; send the request again", RetryAfter: catchupRetry, Err: err,
		}
	}
	return answer, err
}

// writeCatchup writes an answer and closes it. The bytes are not copied: other requests may share
// them. A caller that has left is not an error.
func writeCatchup(w http.ResponseWriter, as revocation.Form, answer CatchupAnswer) {
	defer func() { _ = answer.Close() }()
	h := w.Header()
	h.Set("Content-Type", string(as))
	h.Set("Content-Length", strconv.FormatInt(answer.Size(), 10))
	patience := catchupGrace + time.Duration(answer.Size()/catchupRate)*time.Second
	// A writer without deadlines keeps the server's own.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
	w.WriteHeader(http.StatusOK)
	_, _ = answer.WriteTo(w)
}

// catchupForm returns the form that Accept prefers (RFC 9110 §12.5.1). Only a request that names
// the binary form gets it; one that accepts neither gets JSON.
func catchupForm(header http.Header) revocation.Form {
	accept := httpapi.ParseAccept(header)
	if binary := accept[string(revocation.FormBinary)]; binary > 0 && binary >= accept.Quality(string(revocation.FormJSON)) {
		return revocation.FormBinary
	}
	return revocation.FormJSON
}
