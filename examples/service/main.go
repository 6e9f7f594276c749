// Command service is a complete service that accepts the broker's tokens. With
// `tokenbroker dev` running:
//
//	SERVICE_SECRET=demo-service-secret go run ./examples/service -listen 127.0.0.1:8083
//
// Secrets come from the environment, or from a file that the environment names:
// SERVICE_SECRET or SERVICE_SECRET_FILE, NATS_PASSWORD or NATS_PASSWORD_FILE.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tokenbroker/examples/hello"
	"tokenbroker/revocation"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("service ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	name := flag.String("name", "service", "this instance's `name`, in its log and in NATS's monitoring")
	issuer := flag.String("issuer", "http://127.0.0.1:8080", "the broker's `URL`")
	connect := flag.String("connect", "", "`host:port` to reach the broker at, where it is not the issuer's")
	audience := flag.String("audience", "demo-api", "this service's `name` in the tokens' aud")
	resource := flag.String("resource", "", "this service's `URI` in the broker's oauth.resources, for clients that know only the service (default: not described)")
	clientID := flag.String("client", "demo-service", "this service's client `id` at the broker (its secret: SERVICE_SECRET[_FILE])")
	feed := flag.String("feed", "nats", "how revocations come: `nats|http` (http: from the broker itself)")
	nats := flag.String("nats", "nats://127.0.0.1:4222", "where they come from with -feed nats, a NATS `URL`")
	natsUser := flag.String("nats-user", "", "the `user` at NATS, where it asks (its password: NATS_PASSWORD[_FILE])")
	origin := flag.String("origin", "http://127.0.0.1:8080", "the browser `origin` that may call")
	listen := flag.String("listen", "127.0.0.1:8082", "`address` to listen on")
	flag.Parse()
	log := slog.Default().With("service", *name)

	clientSecret, err := secret("SERVICE_SECRET")
	if err != nil {
		return err
	}
	natsPassword, err := secret("NATS_PASSWORD")
	if err != nil {
		return err
	}
	client := validator.Client{ID: *clientID, Secret: clientSecret}
	var revocations revocation.Feed
	switch *feed {
	case "nats":
		revocations = natsfeed.Feed{URL: *nats, User: *natsUser, Password: natsPassword, Name: *name}
	case "http":
		revocations = httpfeed.Feed{URL: *issuer, Client: client, HTTPClient: brokerClient(*connect), Logger: log}
	default:
		return fmt.Errorf("-feed %q: want nats or http", *feed)
	}
	v, err := validator.New(ctx, validator.Config{ // waits at most half a minute for the broker
		Issuer:     *issuer,
		Audience:   *audience,
		Client:     client,
		Feed:       revocations,
		HTTPClient: brokerClient(*connect),
		Logger:     log,
	})
	if err != nil {
		return err
	}
	defer v.Close()

	mux := http.NewServeMux()
	options := []httpauth.Option{httpauth.AllowOrigins(*origin)}
	if *resource != "" {
		described := hello.Resource(*resource, *issuer)
		if err := described.Validate(); err != nil {
			return fmt.Errorf("-resource: %w", err)
		}
		mux.Handle(described.MetadataPath(), described.Handler())
		options = append(options, httpauth.ProtectedResource(described))
	}
	mux.Handle("/", hello.Handler(v, options...))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !v.Stats().Fresh { // then every token would be refused
			http.Error(w, "stale", http.StatusServiceUnavailable)
		}
	})
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info("listening", "address", *listen, "issuer", *issuer)
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", *listen, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
