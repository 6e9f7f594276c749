// Command mcp is an MCP server for people who sign in at the broker. With `tokenbroker dev` running:
//
//	SERVICE_SECRET=demo-service-secret go run .
//
// An MCP client needs only the URL http://127.0.0.1:8085/mcp.
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

	"tokenbroker/revocation/httpfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("MCP server ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	issuer := flag.String("issuer", "http://127.0.0.1:8080", "the broker's `URL`")
	uri := flag.String("resource", "http://127.0.0.1:8085/mcp", "this server's `URL` for MCP clients, which is also its URI in the broker's oauth.resources")
	audience := flag.String("audience", "demo-mcp", "this server's `name` in the tokens' aud, which has that URI in oauth.resources")
	scope := flag.String("scope", "hello:read", "the `scope` that a token needs")
	clientID := flag.String("client", "demo-service", "this server's client `id` at the broker (its secret: SERVICE_SECRET)")
	origin := flag.String("origin", "", "the browser `origin` that may call, such as that of MCP Inspector (default: none)")
	listen := flag.String("listen", "127.0.0.1:8085", "`address` to listen on")
	flag.Parse()

	resource := httpauth.Resource{URI: *uri, AuthorizationServers: []string{*issuer}, Scopes: []string{*scope}, Name: "Greetings for MCP clients"}
	if err := resource.Validate(); err != nil {
		return fmt.Errorf("-resource and -issuer: %w", err)
	}
	client := validator.Client{ID: *clientID, Secret: os.Getenv("SERVICE_SECRET")}
	v, err := validator.New(ctx, validator.Config{ // waits at most half a minute for the broker
		Issuer:   *issuer,
		Audience: *audience,
		Client:   client,
		Feed:     httpfeed.Feed{URL: *issuer, Client: client},
	})
	if err != nil {
		return err
	}
	defer v.Close()

	var options []httpauth.Option
	if *origin != "" {
		options = append(options, httpauth.AllowOrigins(*origin))
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: handler(v, newServer(v), resource, options...), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	slog.Info("listening", "mcp", *uri, "issuer", *issuer)
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", *listen, err)
	case <-ctx.Done():
	}
	v.Close() // ends the open streams, for which Shutdown would wait
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
