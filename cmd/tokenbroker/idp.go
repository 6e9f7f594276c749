package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

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

// idpServer is the Cognito emulator that dev runs beside the broker.
type idpServer struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// listenIDP takes the port; serve answers on it.
func listenIDP(addr string) (*idpServer, error) {
	l, err := node.Listen("the Cognito emulator", addr, "--idp-listen")
	if err != nil {
		return nil, err
	}
	return &idpServer{listener: l}, nil
}

func (s *idpServer) issuer() string { return "http://" + s.listener.Addr().String() + "/" + devPool }

// serve starts the pool with an app client for brokers on loopback and those that are reached by
// origins, and makes the provider for it. It owns one goroutine, which stop ends and waits for.
func (s *idpServer) serve(origins []string, via node.Transport) (map[string]node.Provider, error) {
	client := devidp.Client{ID: devIDPClient, AnyLoopback: true}
	for _, o := range origins {
		client.RedirectURIs = append(client.RedirectURIs, o+"/auth/callback/"+devProvider+"/")
	}
	pool, err := devidp.New(devidp.Config{Issuer: s.issuer(), Users: devidp.DevUsers(), Clients: []devidp.Client{client}})
	if err != nil {
		return nil, err
	}
	provider, err := upstream.New(upstream.Config{
		Name: devProvider, Kind: upstream.KindCognito, Issuer: s.issuer(), ClientID: devIDPClient, Exchange: true,
		LogoutURL: "http://" + s.listener.Addr().String(), Instrument: via.Instrument(devProvider), Logger: via.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.server = &http.Server{Handler: pool.Handler(), ReadHeaderTimeout: 5 * time.Second}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.server.Serve(s.listener) // a pool that ended shows as an unavailable provider
	}()
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
