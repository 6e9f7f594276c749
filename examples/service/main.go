// Command service is a complete service that accepts the broker's tokens. With
// `tokenbroker dev` running:
//
//	SERVICE_SECRET=demo-service-secret go run ./examples/service -listen 127.0.0.1:8083
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tokenbroker/examples/hello"
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
	issuer := flag.String("issuer", "http://127.0.0.1:8080", "the broker's `URL`")
	audience := flag.String("audience", "demo-api", "this service's `name` in the tokens' aud")
	clientID := flag.String("client", "demo-service", "this service's client `id` at the broker (its secret: SERVICE_SECRET)")
	nats := flag.String("nats", "nats://127.0.0.1:4222", "where revocations come from, a NATS `URL`")
	origin := flag.String("origin", "http://127.0.0.1:8080", "the browser `origin` that may call")
	listen := flag.String("listen", "127.0.0.1:8082", "`address` to listen on")
	flag.Parse()

	start, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v, err := validator.New(start, validator.Config{
		Issuer:   *issuer,
		Audience: *audience,
		Client:   validator.Client{ID: *clientID, Secret: os.Getenv("SERVICE_SECRET")},
		Feed:     natsfeed.Feed{URL: *nats},
	})
	if err != nil {
		return err
	}
	defer v.Close()

	server := &http.Server{
		Addr:              *listen,
		Handler:           hello.Handler(v, httpauth.AllowOrigins(*origin)),
		ReadHeaderTimeout: 5 * time.Second,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("listening", "address", *listen, "issuer", *issuer)
	select {
	case err := <-failed:
		return fmt.Errorf("listening on %s: %w", *listen, err)
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
