package adminclient

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"tokenbroker/api/origin"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/internal/private"
)

// The environment variables that [Locate] reads.
const (
	EnvAdmin     = "TOKENBROKER_ADMIN"
	EnvToken     = "TOKENBROKER_ADMIN_TOKEN"
	EnvTokenFile = "TOKENBROKER_ADMIN_TOKEN_FILE"
	EnvCA        = "TOKENBROKER_ADMIN_CA"
	EnvDataDir   = "TOKENBROKER_DATA_DIR"
	EnvConfig    = "TOKENBROKER_CONFIG"
)

// ErrNoServer is wrapped by the error if no server is named, or it cannot be reached. The text says what was
// tried and what to do.
var ErrNoServer = errors.New("no server answers")

// ErrOptions is wrapped by an error in the options, or in an address of the environment.
var ErrOptions = errors.New("naming the server")

// Options name the server by at most one of Admin, DataDir and ConfigFile. Without them the environment is used,
// and then the pointer of a running dev.
type Options struct {
	// Admin is http://HOST:PORT (HOST on loopback), https://HOST or unix:///PATH.
	Admin string
	// TokenFile holds the bearer token for the TCP listener. If empty, the environment has it.
	TokenFile string
	// CAFile holds the authorities in PEM that verify an https server's certificate, instead of the system's. If
	// empty, the environment names it.
	CAFile string
	// DataDir is the server's data directory, with the socket in it.
	DataDir string
	// ConfigFile is the server's configuration, and SocketOf returns the path of the socket that it names. If
	// SocketOf is nil, neither ConfigFile nor TOKENBROKER_CONFIG can be used.
	ConfigFile string
	SocketOf   func(configFile string) (string, error)
}

// Locate returns a client of the server that the first of these names: Admin, DataDir, ConfigFile,
// TOKENBROKER_ADMIN, TOKENBROKER_CONFIG, TOKENBROKER_DATA_DIR, the pointer. It sends no request. The error wraps
// [ErrOptions], or [ErrNoServer] if nothing names a server, or names the file that cannot be read or trusted.
func Locate(opts Options) (*Client, error) {
	given := 0
	for _, s := range []string{opts.Admin, opts.DataDir, opts.ConfigFile} {
		if s != "" {
			given++
		}
	}
	if given > 1 {
		return nil, fmt.Errorf("%w: set only one of --admin, --data-dir and --config", ErrOptions)
	}
	env := os.Getenv
	switch {
	case opts.Admin != "":
		return fromAddress(opts.Admin, "--admin", opts)
	case opts.DataDir != "":
		return newSocketClient(adminsocket.Path(opts.DataDir), "--data-dir"), nil
	case opts.ConfigFile != "":
		return fromConfig(opts.ConfigFile, "--config", opts.SocketOf)
	case env(EnvAdmin) != "":
		return fromAddress(env(EnvAdmin), EnvAdmin, opts)
	case env(EnvConfig) != "" && opts.SocketOf != nil:
		return fromConfig(env(EnvConfig), EnvConfig, opts.SocketOf)
	case env(EnvDataDir) != "":
		return newSocketClient(adminsocket.Path(env(EnvDataDir)), EnvDataDir), nil
	}
	return fromPointer()
}

// fromAddress returns a client of the server at an address, which is the value of from.
func fromAddress(address, from string, opts Options) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is not a URL", ErrOptions, from) // the value may hold a password
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %s takes no user, query or fragment (the token goes into a file)", ErrOptions, from)
	}
	if opts.CAFile != "" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: --admin-ca is for an https address, and %s is not one", ErrOptions, from)
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || u.Path == "" {
			return nil, fmt.Errorf("%w: %s: want unix:///path/to/admin.sock", ErrOptions, from)
		}
		return newSocketClient(u.Path, from), nil
	case "http", "https":
		if u.Host == "" || u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("%w: %s: want a scheme, a host and a port, no path", ErrOptions, from)
		}
		if u.Scheme == "http" && !origin.LoopbackHost(u.Hostname()) {
			return nil, fmt.Errorf("%w: %s: %q is not this machine: a token is sent over plain http only to loopback (use https, or an ssh tunnel)", ErrOptions, from, u.Hostname())
		}
		token, err := readToken(opts.TokenFile)
		if err != nil {
			return nil, err
		}
		var roots *x509.CertPool // the system's
		if file := cmp.Or(opts.CAFile, os.Getenv(EnvCA)); file != "" && u.Scheme == "https" {
			if roots, err = readAuthorities(file); err != nil {
				return nil, err
			}
		}
		return newURLClient(u.Scheme+"://"+u.Host, token, from, roots), nil
	}
	return nil, fmt.Errorf("%w: %s: want http://, https:// or unix://", ErrOptions, from)
}

func fromConfig(file, from string, socketOf func(string) (string, error)) (*Client, error) {
	if socketOf == nil {
		return nil, fmt.Errorf("%w: %s is not understood here: use --data-dir or --admin", ErrOptions, from)
	}
	socket, err := socketOf(file)
	if err != nil {
		return nil, fmt.Errorf("finding the socket by %s: %w", from, err)
	}
	return newSocketClient(socket, from+" "+file), nil
}

// readToken returns the bearer token in file or in the environment, or "" if none is named.
func readToken(file string) (string, error) {
	from := "--admin-token-file"
	if file == "" {
		text, path := os.Getenv(EnvToken), os.Getenv(EnvTokenFile)
		if text != "" && path != "" {
			return "", fmt.Errorf("%s and %s are both set: keep one", EnvToken, EnvTokenFile)
		}
		if path == "" {
			return checkToken(text, EnvToken)
		}
		file, from = path, EnvTokenFile
	}
	token, _, err := private.ReadSecret(file)
	if err != nil {
		return "", fmt.Errorf("reading the admin token of %s: %w", from, err)
	}
	return checkToken(token, from)
}

// maxAuthorities is the maximum size of a file of authorities, in bytes.
const maxAuthorities = 1 << 20

func readAuthorities(file string) (*x509.CertPool, error) {
	text, _, err := private.ReadNamed(file, maxAuthorities)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities of the admin server: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(text)) {
		return nil, fmt.Errorf("%s holds no certificate in PEM: it must hold the authorities of the admin server", file)
	}
	return roots, nil
}

// checkToken returns text if it is a bearer token or empty. The error does not show the text.
func checkToken(text, from string) (string, error) {
	if text == "" {
		return "", nil
	}
	token, err := private.SecretLine(text)
	if err != nil {
		return "", fmt.Errorf("the admin token of %s %w", from, err)
	}
	if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("the value of %s is not a bearer token: want one word of ASCII", from)
	}
	return token, nil
}
