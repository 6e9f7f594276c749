package devserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"text/template"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/private"
	"tokenbroker/upstream"
	"tokenbroker/upstream/devidp"
)

// The names of the Cognito emulator: the user pool's id, its app client, and the broker's provider.
const (
	Pool           = "us-east-1_devpool01"
	EmulatorClient = "dev-client"
	provider       = "cognito"
)

// emulator is the Cognito emulator, which [Run] and [RunEmulator] serve.
type emulator struct {
	listener net.Listener
	pool     string
	server   *http.Server
	failed   chan error // of a listener that failed
	done     chan struct{}
}

// listenEmulator opens the port, which is the value of setting, for the user pool of that id.
func listenEmulator(addr, setting, pool string) (*emulator, error) {
	l, err := httpserver.Listen("the Cognito emulator", addr, setting)
	if err != nil {
		return nil, err
	}
	return &emulator{listener: l, pool: pool, failed: make(chan error, 1)}, nil
}

func (s *emulator) url() string    { return "http://" + s.listener.Addr().String() }
func (s *emulator) issuer() string { return s.url() + "/" + s.pool }

// serve starts the pool with one app client. It owns one goroutine, which stop ends and waits for.
func (s *emulator) serve(client devidp.Client) error {
	pool, err := devidp.New(devidp.Config{Issuer: s.issuer(), Users: devidp.DevUsers(), Clients: []devidp.Client{client}})
	if err != nil {
		return err
	}
	s.server = &http.Server{Handler: pool.Handler(), ReadHeaderTimeout: 5 * time.Second}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err // the broker reports an unavailable provider
		}
	}()
	return nil
}

// serveApp serves the app client of the development server, for brokers on loopback and at origins.
func (s *emulator) serveApp(origins []string) error {
	client := devidp.Client{ID: EmulatorClient, AnyLoopback: true}
	for _, o := range origins {
		client.RedirectURIs = append(client.RedirectURIs, o+"/auth/callback/"+provider+"/")
		client.LogoutURIs = append(client.LogoutURIs, o+"/")
	}
	return s.serve(client)
}

// provide returns the provider for the app client of the emulator at url, whose pool is [Pool].
func provide(url string, via node.Transport) (map[string]node.Provider, error) {
	p, err := upstream.New(upstream.Config{
		Name: provider, Kind: upstream.KindCognito, Issuer: url + "/" + Pool, ClientID: EmulatorClient, Exchange: true,
		LogoutURL: url, Instrument: via.Instrument(provider), Logger: via.Logger,
	})
	if err != nil {
		return nil, err
	}
	return map[string]node.Provider{provider: p}, nil
}

func (s *emulator) stop() error {
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

// EmulatorOptions are the settings of [RunEmulator].
type EmulatorOptions struct {
	// Listen must be on loopback.
	Listen, UserPool, ClientID string
	// ClientSecretFile holds the app client's secret. If empty, it is a public client.
	ClientSecretFile string
	// RedirectURIs and LogoutURIs are compared exactly. If both are empty, all on loopback are allowed.
	RedirectURIs, LogoutURIs []string
	// Stdout receives the configuration for serve.
	Stdout io.Writer
}

// poolID is a user pool's id, which begins with its region.
var poolID = regexp.MustCompile(`^([a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2})_[A-Za-z0-9]+$`)

// client returns the app client that the options describe, or an error if they are wrong.
func (o EmulatorOptions) client() (devidp.Client, error) {
	if !onLoopback(o.Listen) {
		return devidp.Client{}, fmt.Errorf("%w: --listen %q is not a loopback address: the emulator has known passwords and is only for this machine", terminal.ErrUsage, o.Listen)
	}
	if !poolID.MatchString(o.UserPool) {
		return devidp.Client{}, fmt.Errorf("%w: --user-pool %q is not a user pool's id, such as %s", terminal.ErrUsage, o.UserPool, Pool)
	}
	if o.ClientID == "" {
		return devidp.Client{}, fmt.Errorf("%w: --client-id is empty", terminal.ErrUsage)
	}
	for _, uri := range append(o.RedirectURIs, o.LogoutURIs...) {
		u, err := url.Parse(uri)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Contains(uri, "#") {
			return devidp.Client{}, fmt.Errorf("%w: %q is not an http or https URL without a fragment", terminal.ErrUsage, uri)
		}
	}
	c := devidp.Client{
		ID: o.ClientID, RedirectURIs: o.RedirectURIs, LogoutURIs: o.LogoutURIs,
		AnyLoopback: len(o.RedirectURIs) == 0 && len(o.LogoutURIs) == 0,
	}
	if o.ClientSecretFile != "" {
		secret, _, err := private.ReadSecret(o.ClientSecretFile)
		if err != nil {
			return devidp.Client{}, fmt.Errorf("--client-secret-file: %w", err)
		}
		c.Secret = secret
	}
	return c, nil
}

// emulatorText is what RunEmulator prints when it answers.
var emulatorText = template.Must(template.New("emulator").Parse(`
The Cognito emulator is ready: {{.Endpoint}} (admin / admin, ada / ada). For development on this machine only.

Put this into the configuration of serve:

providers:
  cognito:
    kind: cognito
    region: {{.Region}}
    user_pool: {{.UserPool}}
    client_id: {{.ClientID}}
{{if .SecretFile}}    client_secret_file: {{.SecretFile}}
{{end}}    insecure_dev_endpoint: {{.Endpoint}}

It sends browsers back to {{if .AnyLoopback}}any page on loopback{{else}}{{range $i, $uri := .URIs}}{{if $i}}, {{end}}{{$uri}}{{end}}{{end}}.
Stop with Ctrl-C.

`))

// RunEmulator serves only the Cognito emulator until ctx ends or the listener fails. The error wraps
// [terminal.ErrUsage] if the options are wrong.
func RunEmulator(ctx context.Context, opts EmulatorOptions) (err error) {
	client, err := opts.client()
	if err != nil {
		return err
	}
	e, err := listenEmulator(opts.Listen, "--listen", opts.UserPool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	if err := e.serve(client); err != nil {
		return err
	}
	if err := emulatorText.Execute(opts.Stdout, map[string]any{
		"Endpoint": e.url(), "Region": poolID.FindStringSubmatch(opts.UserPool)[1], "UserPool": opts.UserPool, "ClientID": opts.ClientID,
		"SecretFile": opts.ClientSecretFile, "AnyLoopback": client.AnyLoopback, "URIs": append(opts.RedirectURIs, opts.LogoutURIs...),
	}); err != nil {
		return fmt.Errorf("printing the configuration: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.failed:
		return fmt.Errorf("the Cognito emulator's listener ended: %w", err)
	}
}
