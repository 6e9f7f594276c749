package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/upstream"
	"tokenbroker/upstream/devidp"
)

// What dev's Cognito emulator is called.
const (
	devProvider  = "cognito"
	devPool      = "us-east-1_devpool01"
	devIDPClient = "dev-client"
)

// idpServer is the Cognito emulator: dev runs it beside the broker, and idp alone.
type idpServer struct {
	listener net.Listener
	pool     string
	server   *http.Server
	failed   chan error // of a listener that ended by itself
	done     chan struct{}
}

// listenIDP takes the port, which setting names; serve answers on it for the user pool of that id.
func listenIDP(addr, setting, pool string) (*idpServer, error) {
	l, err := httpserver.Listen("the Cognito emulator", addr, setting)
	if err != nil {
		return nil, err
	}
	return &idpServer{listener: l, pool: pool, failed: make(chan error, 1)}, nil
}

func (s *idpServer) url() string    { return "http://" + s.listener.Addr().String() }
func (s *idpServer) issuer() string { return s.url() + "/" + s.pool }

// serve starts the pool with one app client. It owns one goroutine, which stop ends and waits for.
func (s *idpServer) serve(client devidp.Client) error {
	pool, err := devidp.New(devidp.Config{Issuer: s.issuer(), Users: devidp.DevUsers(), Clients: []devidp.Client{client}})
	if err != nil {
		return err
	}
	s.server = &http.Server{Handler: pool.Handler(), ReadHeaderTimeout: 5 * time.Second}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err // to dev it shows as an unavailable provider
		}
	}()
	return nil
}

// provide serves dev's app client, for brokers on loopback and those that are reached by origins,
// and makes the provider for it.
func (s *idpServer) provide(origins []string, via node.Transport) (map[string]node.Provider, error) {
	client := devidp.Client{ID: devIDPClient, AnyLoopback: true}
	for _, o := range origins {
		client.RedirectURIs = append(client.RedirectURIs, o+"/auth/callback/"+devProvider+"/")
	}
	if err := s.serve(client); err != nil {
		return nil, err
	}
	provider, err := upstream.New(upstream.Config{
		Name: devProvider, Kind: upstream.KindCognito, Issuer: s.issuer(), ClientID: devIDPClient, Exchange: true,
		LogoutURL: s.url(), Instrument: via.Instrument(devProvider), Logger: via.Logger,
	})
	if err != nil {
		return nil, err
	}
	return map[string]node.Provider{devProvider: provider}, nil
}

func (s *idpServer) stop() error {
	if s.server == nil {
		return s.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.server.Close()
	}
	<-s.done
	if err != nil {
		return fmt.Errorf("stopping the Cognito emulator: %w", err)
	}
	return nil
}
