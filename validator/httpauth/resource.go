package httpauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Resource describes the service as a protected resource (RFC 9728), so that a client that knows only the service's URL finds the
// issuer and the scopes to ask for. MCP clients need it. Serve the description, and name it in the refusals:
//
//	resource := httpauth.Resource{
//		URI:                  "https://api.example.com/",
//		AuthorizationServers: []string{"https://id.example.com"},
//		Scopes:               []string{"orders:read"},
//	}
//	mux.Handle(resource.MetadataPath(), resource.Handler())
//	mux.Handle("GET /orders", httpauth.Require(v, httpauth.Scope("orders:read"), httpauth.ProtectedResource(resource))(orders))
type Resource struct {
	// URI is the resource identifier (RFC 9728 §1.2), which clients send as the parameter resource (RFC 8707): the URL of the service,
	// exactly as in the broker's oauth.resources. It is https, or http on a loopback address, and has no query and no fragment.
	// For an MCP server it is the URL that people give to their MCP clients, which compare the two.
	URI string
	// AuthorizationServers are the issuers whose tokens the service accepts. At least one is required.
	AuthorizationServers []string
	// Scopes are the scopes that clients may need at this service. Some clients ask for each of them if a refusal names none.
	Scopes []string
	// Name is the service's name for people. If empty, the description has none.
	Name string
	// DocumentationURI is the URL of a page for developers. If empty, the description has none.
	DocumentationURI string
}

// wellKnown is the path of the metadata of a resource without a path (RFC 9728 §3).
const wellKnown = "/.well-known/oauth-protected-resource"

// metadataMaxAge is how long clients and caches may keep the metadata, in seconds.
const metadataMaxAge = "300"

// Validate returns an error if a field of the resource is missing or malformed.
func (r Resource) Validate() error {
	if err := checkURL(r.URI); err != nil {
		return fmt.Errorf("resource URI %q: %w", r.URI, err)
	}
	if len(r.AuthorizationServers) == 0 {
		return fmt.Errorf("resource %s: no authorization server", r.URI)
	}
	for _, issuer := range r.AuthorizationServers {
		if err := checkURL(issuer); err != nil {
			return fmt.Errorf("authorization server %q: %w", issuer, err)
		}
	}
	for _, scope := range r.Scopes {
		if !isScope(scope) {
			return fmt.Errorf("%q is not a scope", scope)
		}
	}
	if r.DocumentationURI != "" {
		if u, err := url.Parse(r.DocumentationURI); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return fmt.Errorf("documentation %q: not an http(s) URL", r.DocumentationURI)
		}
	}
	return nil
}

// checkURL checks the URL of a resource (RFC 9728 §1.2) or an issuer (RFC 8414 §2). The text of a good one is safe inside quotes.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return errors.New("not an absolute URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return errors.New("neither https nor http on a loopback address")
	case u.User != nil:
		return errors.New("has a user name")
	case strings.ContainsAny(text, "?#"):
		return errors.New("has a query or a fragment")
	case u.String() != text || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }):
		return errors.New("not in its canonical form, with escapes")
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// MetadataPath returns the path at which clients look for the resource's metadata: the well-known path and the path of URI
// (RFC 9728 §3.1). A proxy in front of the service must pass it on, also if it passes on only the resource's own path otherwise.
func (r Resource) MetadataPath() string {
	u, err := url.Parse(r.URI)
	if err != nil || u.Path == "/" {
		return wellKnown
	}
	return wellKnown + u.EscapedPath()
}

// metadataURL returns the URL of [Resource.MetadataPath] at the resource's own origin.
func (r Resource) metadataURL() string {
	u, err := url.Parse(r.URI)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + r.MetadataPath()
}

// metadata is the document of RFC 9728 §2.
type metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
}

// Handler returns a handler that serves the metadata document (RFC 9728 §3.2) to everyone, also to pages of other origins. Register it
// for [Resource.MetadataPath] without a method, outside of [Require]. It panics if the resource is not valid.
func (r Resource) Handler() http.Handler {
	if err := r.Validate(); err != nil {
		panic("httpauth: " + err.Error())
	}
	document, err := json.Marshal(metadata{
		Resource: r.URI, AuthorizationServers: r.AuthorizationServers, ScopesSupported: r.Scopes,
		BearerMethods: []string{"header"}, Name: r.Name, Documentation: r.DocumentationURI,
	})
	if err != nil {
		panic("httpauth: encoding the metadata: " + err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			h.Set("Content-Type", "application/json")
			h.Set("Cache-Control", "public, max-age="+metadataMaxAge)
			_, _ = w.Write(document) // an error means that the client has gone
		case http.MethodOptions: // MCP clients in browsers send a header of their own
			h.Set("Allow", "GET, HEAD, OPTIONS")
			h.Set("Access-Control-Allow-Methods", "GET, HEAD")
			h.Set("Access-Control-Allow-Headers", "*")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
		default:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})
}

// ProtectedResource adds two parameters to the WWW-Authenticate header of each refusal that has one: resource_metadata, the URL of the
// resource's metadata (RFC 9728 §5.1), and scope, the scopes of [Scope] (RFC 6750 §3), if there are any. It serves no metadata; see
// [Resource.Handler]. It panics if the resource is not valid.
func ProtectedResource(r Resource) Option {
	if err := r.Validate(); err != nil {
		panic("httpauth: " + err.Error())
	}
	return func(g *guard) { g.metadata = r.metadataURL() }
}

// challenge returns the WWW-Authenticate header of a refusal, empty if it has none. All values in it are safe inside quotes.
func (g *guard) challenge(p *problem) string {
	if p.challenge == "" || g.metadata == "" {
		return p.challenge
	}
	challenge := p.challenge + `, resource_metadata="` + g.metadata + `"`
	if len(g.scopes) > 0 && p != &g.forbidden { // which has the scopes anyway
		challenge += `, scope="` + strings.Join(g.scopes, " ") + `"`
	}
	return challenge
}
