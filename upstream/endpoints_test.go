package upstream_test

import (
	"errors"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/upstream"
)

// TestEndpointsNearerThanTheIssuerAreRefused checks that an issuer's document cannot send the
// broker into its own network.
func TestEndpointsNearerThanTheIssuerAreRefused(t *testing.T) {
	const loopbackIssuer = "http://127.0.0.1:9090"
	for name, tc := range map[string]struct {
		issuer   string
		endpoint string
		hosts    []string
		says     string // empty if the endpoint is accepted
	}{
		"public":                           {issuerURL, "https://keys.example.com/k", nil, ""},
		"http":                             {issuerURL, "http://keys.example.com/k", nil, "want https"},
		"http on loopback":                 {issuerURL, "http://127.0.0.1:8081/k", nil, "want https"},
		"http on loopback, named":          {issuerURL, "http://127.0.0.1:8081/k", []string{"127.0.0.1"}, "want https"},
		"loopback":                         {issuerURL, "https://127.0.0.1:8081/k", nil, "loopback address"},
		"IPv6 loopback":                    {issuerURL, "https://[::1]:9200/k", nil, "loopback address"},
		"mapped loopback":                  {issuerURL, "https://[::ffff:7f00:1]/k", nil, "loopback address"},
		"localhost":                        {issuerURL, "https://LocalHost/k", nil, "loopback address"},
		"private":                          {issuerURL, "https://10.0.0.5/k", nil, "private address"},
		"private, named":                   {issuerURL, "https://10.0.0.5/k", []string{"10.0.0.5"}, ""},
		"private, another named":           {issuerURL, "https://10.0.0.5/k", []string{"10.0.0.6"}, "private address"},
		"shared":                           {issuerURL, "https://100.100.0.1/k", nil, "private address"},
		"local IPv6":                       {issuerURL, "https://[fd00::5]/k", nil, "private address"},
		"link-local":                       {issuerURL, "https://169.254.169.254/k", nil, "link-local or reserved address"},
		"unspecified":                      {issuerURL, "https://0.0.0.0/k", nil, "link-local or reserved address"},
		"NAT64":                            {issuerURL, "https://[64:ff9b::a00:5]/k", nil, "private address"},
		"private issuer, private":          {"https://192.168.1.2", "https://10.0.0.5/k", nil, ""},
		"private issuer, loopback":         {"https://192.168.1.2", "https://127.0.0.1/k", nil, "loopback address"},
		"loopback issuer, http loopback":   {loopbackIssuer, "http://127.0.0.1:9091/k", nil, ""},
		"loopback issuer, http elsewhere":  {loopbackIssuer, "http://10.0.0.5/k", nil, "want https"},
		"loopback issuer, private":         {loopbackIssuer, "https://10.0.0.5/k", nil, ""},
		"loopback issuer, link-local":      {loopbackIssuer, "https://169.254.169.254/k", nil, "link-local or reserved address"},
		"https loopback issuer, http keys": {"https://127.0.0.1:9090", "http://127.0.0.1:9091/k", nil, "want https"},
	} {
		for _, member := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"} {
			t.Run(name+"/"+member, func(t *testing.T) {
				o := newOP()
				for m := range o.discovery {
					o.discovery[m] = tc.issuer + "/" + m
				}
				o.discovery["issuer"], o.discovery[member] = tc.issuer, tc.endpoint
				p := o.provider(t, func(c *upstream.Config) { c.Issuer, c.EndpointHosts = tc.issuer, tc.hosts })
				_, err := p.AuthorizeURL(t.Context(), broker.AuthorizeRequest{State: "s", Nonce: "n", Verifier: "v"})
				if tc.says == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if !errors.Is(err, broker.ErrUpstreamUnavailable) {
					t.Fatalf("error %v", err)
				}
				for _, text := range []string{err.Error(), o.logs.String()} {
					if !strings.Contains(text, tc.says) || !strings.Contains(text, "document's "+member) {
						t.Errorf("%q does not name %s and %q", text, member, tc.says)
					}
				}
				if tc.says != "want https" && !strings.Contains(err.Error(), "providers.op.endpoint_hosts") {
					t.Errorf("%v does not name the setting", err)
				}
			})
		}
	}
}

// TestLogoutURLNamesAnEndpointHost checks that endpoints may be on the host of LogoutURL, which the
// operator has configured.
func TestLogoutURLNamesAnEndpointHost(t *testing.T) {
	o := newOP()
	o.discovery["authorization_endpoint"] = "https://10.0.0.5/a"
	p := o.provider(t, func(c *upstream.Config) { c.Kind, c.LogoutURL = upstream.KindCognito, "https://10.0.0.5" })
	if _, err := p.AuthorizeURL(t.Context(), broker.AuthorizeRequest{State: "s", Nonce: "n", Verifier: "v"}); err != nil {
		t.Error(err)
	}
}
