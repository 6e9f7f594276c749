package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"tokenbroker/broker"
)

const (
	// maxDocuments bounds the documents that are kept. Beyond it, the least recently used one is forgotten.
	maxDocuments = 1024
	// maxDocument is the largest document in bytes. The draft recommends 5 KB to servers, but documents of well-known clients are
	// larger. All documents that are kept, with their headers, have at most 32 MiB.
	maxDocument    = 16 << 10
	maxDocumentURL = 512 // bytes
	// maxDocumentAge is how long a document is used without an answer of its host.
	maxDocumentAge = 24 * time.Hour
)

// DocumentsConfig configures [Documents]. The zero value is valid.
type DocumentsConfig struct {
	// Hosts are the hosts, without port, whose documents are accepted. If empty, all are.
	Hosts []string
	// InsecureLoopback allows documents on a loopback address, also by http. It MUST NOT be set except for development. If false,
	// hosts must have a public address. A private address is never allowed.
	InsecureLoopback bool
	// Check returns the reason why a document's content must not be used. Such a document is not kept, and replaces an earlier one.
	// If nil, the content is not checked. It must be safe for concurrent use.
	Check func(url string, body []byte) error
	// Timeout is the time-out of a request with its answer. If zero, it is 5 seconds.
	Timeout time.Duration
	// Transport and Instrument are those of [Config]. A Transport must not follow redirects.
	Transport  http.RoundTripper
	Instrument func(http.RoundTripper) http.RoundTripper
	// Now is the clock. If nil, it is time.Now.
	Now func() time.Time
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
}

// Documents fetches Client ID Metadata Documents and keeps them as long as the headers of their answers allow
// (draft-ietf-oauth-client-id-metadata-document-03 §5). So a changed document is seen when that time has passed, which is at most
// 24 hours. Errors are not kept.
//
// If a document has to be fetched again and its host cannot be reached, does not answer in time or answers with 429 or 5xx, the
// document is used until 24 hours after the host's last answer, so that users stay signed in to an app whose website is down. This
// includes documents with no-cache or must-revalidate, which RFC 9111 §4.2.4 does not allow to a cache that serves others, but not
// those with no-store. Each other answer that is not a document ends the use of the last one.
//
// Callers that need the same document at the same time share a request, which continues if one of them stops waiting. Requests are
// limited for each host and altogether, see [hostLimits]. Documents is safe for concurrent use. It starts a goroutine only for a
// request, which ends within the time-out.
type Documents struct {
	cfg       DocumentsConfig
	transport *transport
	flight    singleflight.Group
	ctx       context.Context // of the requests; it ends with Close
	cancel    context.CancelFunc
	requests  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	closed bool
	kept   *simplelru.LRU[string, *document]
}

var _ broker.ClientDocuments = (*Documents)(nil)

// document is a good document. It is not changed.
type document struct {
	body      json.RawMessage
	headers   http.Header // those of cacheHeaders
	confirmed time.Time   // when its host last sent or confirmed it
	until     time.Time   // until then it is used without a request
	failed    bool        // the last request did not get an answer
}

// NewDocuments returns a Documents. It does not fetch anything.
func NewDocuments(cfg DocumentsConfig) *Documents {
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	kept, err := simplelru.NewLRU[string, *document](maxDocuments, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	d := &Documents{cfg: cfg, kept: kept}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.transport = newClaimedTransport(&Config{
		Timeout: cfg.Timeout, Transport: cfg.Transport, Instrument: cfg.Instrument, Now: cfg.Now,
	}, cfg.InsecureLoopback, maxDocument)
	return d
}

// Close ends the requests and waits for their end.
func (d *Documents) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.requests.Wait()
	d.transport.close()
}

// Document implements [broker.ClientDocuments].
func (d *Documents) Document(ctx context.Context, id string) (json.RawMessage, error) {
	u, err := d.checkURL(id)
	if err != nil {
		return nil, err
	}
	last := d.last(id)
	if last != nil && d.cfg.Now().Before(last.until) {
		return last.body, nil
	}
	answer := d.flight.DoChan(id, func() (any, error) { return d.refresh(id, u) })
	wait := ctx
	if last != nil && last.failed { // users do not wait for each attempt while the host hangs
		short, cancel := context.WithTimeout(ctx, freshKeysWait)
		defer cancel()
		wait = short
	}
	select {
	case a := <-answer:
		body, _ := a.Val.(json.RawMessage)
		return body, a.Err
	case <-wait.Done():
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%w: waiting for the document: %w", broker.ErrUpstreamUnavailable, err)
		}
		return last.body, nil
	}
}

// checkURL returns the parsed URL, and an error that wraps [broker.ErrClientDocument] if it must not be fetched.
func (d *Documents) checkURL(id string) (*url.URL, error) {
	if len(id) > maxDocumentURL {
		return nil, refusedDocument("its URL is longer than %d bytes", maxDocumentURL)
	}
	u, err := d.transport.checkClaimed(id)
	switch {
	case errors.As(err, new(*addressError)):
		return nil, refusedDocument(notPublic)
	case err != nil:
		return nil, fmt.Errorf("%w: its URL: %w", broker.ErrClientDocument, err)
	case len(d.cfg.Hosts) > 0 && !slices.ContainsFunc(d.cfg.Hosts, func(host string) bool { return strings.EqualFold(host, u.Hostname()) }):
		return nil, refusedDocument("its host is not one of those whose documents are accepted")
	}
	return u, nil
}

// refresh fetches a document unless that has just been done.
func (d *Documents) refresh(id string, u *url.URL) (json.RawMessage, error) {
	if !d.begin() {
		return nil, fmt.Errorf("%w: fetching the document: %w", broker.ErrUpstreamUnavailable, net.ErrClosed)
	}
	defer d.requests.Done()
	last := d.last(id)
	if last != nil && d.cfg.Now().Before(last.until) {
		return last.body, nil
	}
	log := d.cfg.Logger.With("host", u.Host, "path", fmt.Sprintf("%.100s", u.EscapedPath()))
	got, keep, err := d.fetch(d.ctx, id, u, last)
	switch {
	case err == nil && keep:
		d.keep(id, got)
	case err != nil && last != nil && !errors.Is(err, broker.ErrClientDocument):
		log.InfoContext(d.ctx, "a client's metadata document could not be fetched; the last one is used", "error", err, "confirmed", last.confirmed)
		again := *last
		again.failed, again.until = true, d.cfg.Now().Add(refetchEvery)
		d.keep(id, &again)
		return last.body, nil
	default:
		d.keep(id, nil)
	}
	if err != nil {
		log.InfoContext(d.ctx, "a client's metadata document could not be used", "error", err)
		return nil, err
	}
	log.DebugContext(d.ctx, "a client's metadata document was fetched", "until", got.until, "kept", keep)
	return got.body, nil
}

// begin counts a request, unless d is closed.
func (d *Documents) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.requests.Add(1)
	}
	return !d.closed
}

// last returns the last good document, or nil if there is none or it is too old to be used.
func (d *Documents) last(id string) *document {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, found := d.kept.Get(id); found && d.cfg.Now().Sub(last.confirmed) < maxDocumentAge {
		return last
	}
	return nil
}

// keep replaces the last good document. If the new one is nil, it is forgotten.
func (d *Documents) keep(id string, doc *document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc == nil {
		d.kept.Remove(id)
		return
	}
	d.kept.Add(id, doc)
}
