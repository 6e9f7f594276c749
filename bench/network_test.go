package bench

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/api"
	"tokenbroker/api/browser"
	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/api/pages"
	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store"
	"tokenbroker/validator"
)

const (
	serviceClient = "demo-service"
	serviceSecret = "demo-service-secret"
)

// network is a rig that publishes its revocations over HTTP and over an embedded NATS server, connected as
// in the broker's process.
type network struct {
	*rig
	ledger    *ledger.Ledger
	publisher *ledger.Publisher
	nats      *server.Server
	http      *httptest.Server
}

// newNetwork starts a network. If prepare is not nil, it fills the ledger before the broker starts.
func newNetwork(tb testing.TB, prepare func(store.Store, *ledger.Ledger)) *network {
	tb.Helper()
	n := &network{nats: startNATS(tb)}
	bus, err := natsfeed.Dial(tb.Context(), natsfeed.BusConfig{InProcess: n.nats})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(bus.Close)
	n.http = httptest.NewUnstartedServer(nil)
	tb.Cleanup(n.http.Close)
	var keys *keyring.Keyring
	n.rig = newRig(tb, func(cfg *brokertest.Config) {
		n.ledger, keys = cfg.Ledger.(*ledger.Ledger), cfg.Signer.(*keyring.Keyring)
		n.publisher, err = ledger.NewPublisher(ledger.PublisherConfig{
			Ledger: n.ledger, Bus: bus, Sign: keys.SignFeed, JWKSETag: func() string { return keys.JWKS().ETag },
		})
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Issuer, cfg.Broadcast = n.issuer(), n.publisher
		if prepare != nil {
			prepare(cfg.Store, n.ledger)
		}
	})
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.publisher.Run(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() { n.publisher.Close(); running.Wait() })
	if err := n.PutClient(tb.Context(), broker.Client{ID: serviceClient, Secret: serviceSecret}); err != nil {
		tb.Fatal(err)
	}
	n.serve(tb)
	return n
}

// issuer returns the URL of the HTTP server. It is valid before the server listens.
func (n *network) issuer() string { return "http://" + n.http.Listener.Addr().String() }

func (n *network) serve(tb testing.TB) {
	tb.Helper()
	handler, err := api.New(api.Config{
		SiteConfig: httpapi.SiteConfig{Issuer: n.issuer()},
		Browser:    browser.Config{Sessions: n, Cookie: httpapi.Cookie{Insecure: true}},
		Pages:      pages.Config{Authorizations: n.oauth, Logouts: n.oauth, Sessions: n},
		OAuth: oauth.Config{
			Clients: n.oauth, Verifier: none{}, AnyAudience: none{}, JWKS: published(n.keys.JWKS),
			MaxTokenLifetime: func() time.Duration { return 5 * time.Minute }, Algorithms: func() []string { return []string{"ES256"} },
			Scopes: []string{"openid"}, Claims: []string{"name"}, AssertionAlgorithms: []string{"ES256"},
		},
		Feed:      feed.Config{Clients: n.oauth, Catchup: catchup{n.ledger}, JWKS: published(n.keys.FeedJWKS)},
		Readiness: func(context.Context) []httpapi.Check { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	n.http.Config.Handler = handler
	n.http.Start()
}

// service starts a validator with its own connection, as a service does.
func (n *network) service(tb testing.TB) *validator.Validator {
	tb.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	v, err := validator.New(tb.Context(), validator.Config{
		Issuer: n.issuer(), Audience: "demo-api", Client: validator.Client{ID: serviceClient, Secret: serviceSecret},
		Feed: natsfeed.Feed{URL: n.nats.ClientURL()}, HTTPClient: client, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { v.Close(); client.CloseIdleConnections() })
	return v
}

// startNATS runs a NATS server configured as the one that the broker embeds.
func startNATS(tb testing.TB) *server.Server {
	tb.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, MaxPayload: 1 << 20,
	})
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		tb.Fatal(errors.New("the NATS server was not ready in time"))
	}
	return s
}

// catchup implements GET /revocations from the ledger.
type catchup struct{ ledger *ledger.Ledger }

func (c catchup) Answer(ctx context.Context, r feed.Reader, as revocation.Form) (feed.CatchupAnswer, error) {
	return c.ledger.EncodedAnswerFor(ctx, r.Client, r.After, r.Speaks, as)
}

func published(current func() keyring.Document) httpapi.Document {
	return func() ([]byte, string, time.Duration) {
		doc := current()
		return doc.Body, doc.ETag, doc.MaxAge
	}
}
