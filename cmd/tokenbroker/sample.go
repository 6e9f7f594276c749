package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/examples/hello"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

// sampleService is the protected service that dev runs beside the broker; it knows no
// more of the broker than a service on another machine would.
type sampleService struct {
	server    *http.Server
	validator *validator.Validator
	failed    chan error
	done      chan struct{}
}

// startSample returns when the service has keys and live revocations in memory. It owns
// one goroutine, which stop ends and waits for.
func startSample(ctx context.Context, n *node.Node, l net.Listener, logger *slog.Logger) (*sampleService, error) {
	v, err := validator.New(ctx, validator.Config{
		Issuer: n.Issuer(), Audience: devAudience,
		Client: validator.Client{ID: devServiceClient, Secret: devServiceSecret},
		Feed:   natsfeed.Feed{URL: n.NATSURL()},
		Logger: logger.With("service", "sample"),
	})
	if err != nil {
		return nil, fmt.Errorf("starting the sample service: %w", err)
	}
	s := &sampleService{
		validator: v, failed: make(chan error, 1), done: make(chan struct{}),
		server: &http.Server{Handler: hello.Handler(v, httpauth.AllowOriginFunc(n.AllowsOrigin)), ReadHeaderTimeout: 5 * time.Second},
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	return s, nil
}

func (s *sampleService) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // a client that is still sending
		err = s.server.Close()
	}
	<-s.done
	s.validator.Close()
	return err
}
