package devserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/examples/hello"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

// sampleSteps are the distances of the ports of the other sample services from that of the first.
var sampleSteps = []uint16{10, 11}

// samples are the protected services that run together with the broker. They use only what services on other
// machines can use.
type samples struct {
	listeners []net.Listener
	running   []*sampleService
	failed    chan error
}

// sampleService is one sample service. It owns one goroutine, which stop ends and waits for.
type sampleService struct {
	server    *http.Server
	validator *validator.Validator
	done      chan struct{}
}

// sampleAddresses returns the addresses that --sample-listen names: one, or one for each service.
func sampleAddresses(flag string) ([]string, error) {
	addrs := strings.Split(flag, ",")
	if all := len(sampleSteps) + 1; len(addrs) != 1 && len(addrs) != all {
		return nil, fmt.Errorf("%w: --sample-listen %q: want one address, or %d separated by commas", terminal.ErrUsage, flag, all)
	}
	return addrs, nil
}

// listenSamples opens the listeners. If only the first address is given, the others are at sampleSteps above
// it, or at any free port if that one is in use.
func listenSamples(addrs []string) (*samples, error) {
	s := &samples{failed: make(chan error, len(sampleSteps)+1)}
	for _, addr := range addrs {
		l, err := httpserver.Listen("the sample service", addr, "--sample-listen")
		if err != nil {
			s.close()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	if len(addrs) > 1 {
		return s, nil
	}
	for _, step := range sampleSteps {
		l, err := listenAbove(addrs[0], step)
		if err != nil {
			s.close()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// listenAbove listens at the port step above that of addr, or at any free port if addr has port 0 or that one
// is in use.
func listenAbove(addr string, step uint16) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: --sample-listen: %w", terminal.ErrUsage, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 && uint16(n)+step > step {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(uint16(n)+step)))); err == nil {
			return l, nil
		}
	}
	return httpserver.Listen("a sample service", net.JoinHostPort(host, "0"), "--sample-listen")
}

func (s *samples) urls() []string {
	var urls []string
	for _, l := range s.listeners {
		urls = append(urls, "http://"+l.Addr().String())
	}
	return urls
}

// thiefURL returns the URL of the [thief], which is on the last service's port.
func (s *samples) thiefURL() string {
	urls := s.urls()
	return urls[len(urls)-1] + CookieThiefPath
}

// start returns when every service has keys and live revocations in memory. allows reports whether pages of an origin
// may call the services.
func (s *samples) start(ctx context.Context, issuer, natsURL string, allows func(origin string) bool, logger *slog.Logger) error {
	s.running = make([]*sampleService, len(s.listeners))
	errs := make([]error, len(s.listeners))
	var all sync.WaitGroup
	for i, l := range s.listeners {
		all.Go(func() {
			name := "sample"
			if i > 0 {
				name = fmt.Sprintf("sample-%d", i+1)
			}
			resource := ""
			if i == 0 {
				resource = resourceURI(s.urls())
			}
			s.running[i], errs[i] = startSample(ctx, issuer, natsURL, resource, allows, logger.With("service", name))
			if errs[i] == nil && i == len(s.listeners)-1 {
				s.running[i].server.Handler = besideThief(newThief(issuer), s.running[i].server.Handler)
			}
			if errs[i] == nil {
				s.running[i].serve(l, s.failed)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// resourceURI returns the resource URI of [Audience], which is that of the first service (RFC 8707).
func resourceURI(services []string) string { return services[0] + "/" }

// startSample returns a service that does not serve yet. With a resource, which is its URI, it describes itself (RFC 9728).
func startSample(ctx context.Context, issuer, natsURL, resource string, allows func(string) bool, logger *slog.Logger) (*sampleService, error) {
	v, err := validator.New(ctx, validator.Config{
		Issuer: issuer, Audience: Audience,
		Client: validator.Client{ID: ServiceClient, Secret: ServiceSecret},
		Feed:   natsfeed.Feed{URL: natsURL},
		Logger: logger,
	})
	if err != nil {
		return nil, fmt.Errorf("starting a sample service: %w", err)
	}
	mux := http.NewServeMux()
	options := []httpauth.Option{httpauth.AllowOriginFunc(allows)}
	if resource != "" {
		described := hello.Resource(resource, issuer)
		mux.Handle(described.MetadataPath(), described.Handler())
		options = append(options, httpauth.ProtectedResource(described))
	}
	mux.Handle("/", hello.Handler(v, options...))
	return &sampleService{
		validator: v, done: make(chan struct{}),
		server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second},
	}, nil
}

func (s *sampleService) serve(l net.Listener, failed chan<- error) {
	go func() {
		defer close(s.done)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
}

// close closes the listeners.
func (s *samples) close() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// stop ends the services that have started, concurrently.
func (s *samples) stop() error {
	errs := make([]error, len(s.running))
	var all sync.WaitGroup
	for i, service := range s.running {
		if service != nil {
			all.Go(func() { errs[i] = service.stop() })
		}
	}
	all.Wait()
	return errors.Join(errs...)
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
