package setup

import (
	"maps"
	"slices"
	"strings"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/config"
	"tokenbroker/upstream"
)

// providers checks the configuration of each provider and returns a function that makes them for a node.
func providers(cfg *config.Config) (func(string, node.Transport) (map[string]node.Provider, error), config.Problems) {
	configs := make(map[string]upstream.Config, len(cfg.Providers))
	var problems config.Problems
	for _, name := range slices.Sorted(maps.Keys(cfg.Providers)) {
		p := cfg.Providers[name]
		configs[name] = UpstreamConfig(name, p)
		if p.Kind == string(upstream.KindCognito) && p.InsecureDevEndpoint == "" && p.Issuer != "" && !slices.Contains(configs[name].Issuers, p.Issuer) {
			_, issuers := upstream.CognitoIssuers(p.Region, p.UserPool)
			problems = append(problems, config.Problem{
				Key: "providers." + name + ".issuer", Message: "is none of the user pool's issuers",
				Hint: "remove it (all of them are accepted), or name the one to ask first: " + strings.Join(issuers, " or "),
			})
			continue
		}
		if _, err := upstream.New(configs[name]); err != nil {
			problems = append(problems, config.Problem{Key: "providers." + name, Message: err.Error()})
		}
	}
	return func(_ string, via node.Transport) (map[string]node.Provider, error) {
		made := make(map[string]node.Provider, len(configs))
		for name, c := range configs {
			c.Instrument, c.Now, c.Logger = via.Instrument(name), via.Wall, via.Logger
			p, err := upstream.New(c)
			if err != nil {
				return nil, err
			}
			made[name] = p
		}
		return made, nil
	}, problems
}

// UpstreamConfig returns the configuration of a provider for package upstream. The caller
// sets Instrument, Now and Logger.
func UpstreamConfig(name string, p config.Provider) upstream.Config {
	c := upstream.Config{
		Name: name, Kind: upstream.Kind(p.Kind), Issuer: p.Issuer,
		ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(), AllowedClientIDs: p.AllowedClientIDs,
		Scopes: p.Scopes, Algorithms: p.Algorithms, MaxTokenAge: p.MaxTokenAge.Std(), SkipEmailVerifiedCheck: p.SkipEmailVerifiedCheck,
		LogoutURL: p.Domain, EndpointHosts: p.EndpointHosts,
	}
	c.Exchange = c.Kind == upstream.KindCognito
	if p.Exchange != nil {
		c.Exchange = *p.Exchange
	}
	if c.Kind == upstream.KindCognito {
		c.Issuer, c.Issuers = upstream.CognitoIssuers(p.Region, p.UserPool)
		if preferred, ok := upstream.PreferCognitoIssuer(p.Issuer, p.Region, p.UserPool); ok {
			c.Issuers = preferred
		}
	}
	if p.InsecureDevEndpoint != "" {
		c.Issuer, c.Issuers, c.LogoutURL = p.InsecureDevEndpoint+"/"+p.UserPool, nil, p.InsecureDevEndpoint
	}
	return c
}
