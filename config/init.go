package config

import (
	"bytes"
	"crypto/rand"
	_ "embed" // the template
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"text/template"
)

// InitOptions has the values that [Init] writes into the file. Each may be empty.
type InitOptions struct {
	PublicURL string // default: http://127.0.0.1 with the port of Listen
	DataDir   string // default: tokenbroker-data; a relative one is below the working directory
	// The addresses of the listeners, host:port. For an empty one the file has its default in a comment.
	Listen, NATSListen, AdminListen string
}

// HTTPS reports whether PublicURL is https, for the template.
func (o InitOptions) HTTPS() bool { return strings.HasPrefix(o.PublicURL, "https:") }

//go:embed init.yaml.tmpl
var initText string

var initTemplate = template.Must(template.New("init").Funcs(template.FuncMap{
	"secret": newSecret,
	"quote":  scalar,
	"default": func(key string) string {
		_, n := schema.find(key)
		return n.def
	},
}).Parse(initText))

// newSecret returns 32 random bytes as text.
func newSecret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Init writes a complete, commented file with new secrets. [Load] accepts the file: if opts has values that
// it would refuse, Init returns [Problems] and writes nothing.
func Init(w io.Writer, opts InitOptions) error {
	if opts.PublicURL == "" {
		opts.PublicURL = "http://" + DefaultListen
		if _, port, err := net.SplitHostPort(opts.Listen); err == nil {
			opts.PublicURL = "http://127.0.0.1:" + port
		}
	}
	if opts.DataDir == "" {
		opts.DataDir = "tokenbroker-data"
	}
	dir, err := filepath.Abs(opts.DataDir)
	if err != nil {
		return fmt.Errorf("naming the data directory: %w", err)
	}
	opts.DataDir = dir
	var file bytes.Buffer
	if err := initTemplate.Execute(&file, opts); err != nil {
		return err
	}
	if _, err := load(Options{}, file.Bytes(), 0); err != nil {
		return err
	}
	_, err = w.Write(file.Bytes())
	return err
}
