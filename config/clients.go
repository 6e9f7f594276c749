package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/internal/private"
)

const minClientSecret = 32

// publishedSecrets are in the documentation of `tokenbroker dev`, so they are not secret.
var publishedSecrets = []string{"demo-service-secret", "demo-web-secret", "admin"}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ClientList returns the clients in the order of their ids, with the files that they name read. The problems are those of files and
// hashes.
func (c *Config) ClientList() ([]broker.Client, Problems) {
	var problems Problems
	clients := make([]broker.Client, 0, len(c.Clients))
	for _, id := range slices.Sorted(maps.Keys(c.Clients)) {
		client, ps := c.Clients[id].of(id)
		clients, problems = append(clients, client), append(problems, ps...)
	}
	return clients, problems
}

// of returns the client with that id.
func (c Client) of(id string) (broker.Client, Problems) {
	var problems Problems
	client := broker.Client{
		ID: id, Secret: c.Secret.Reveal(), PreviousSecret: c.PreviousSecret.Reveal(), Name: c.Name,
		Scopes: c.Scopes, DefaultScopes: c.DefaultScopes, Audiences: c.Audiences, Grants: directory.GrantTypes(c.Grants),
		RedirectURIs: c.RedirectURIs, PostLogoutURIs: c.PostLogoutURIs, Origins: c.Origins, FirstParty: c.FirstParty,
		AccessLife: c.AccessToken.Std(), Idle: c.SessionIdle.Std(), Absolute: c.SessionAbsolute.Std(), JWKSURI: c.JWKSURI,
	}
	if c.RefreshGrace != nil {
		client.Grace = new(c.RefreshGrace.Std())
	}
	for _, w := range c.Workloads {
		client.Workloads = append(client.Workloads, broker.Workload(w))
	}
	key := "clients." + id
	for _, hash := range []struct {
		name, text string
		into       *[]byte
	}{{".secret_hash", c.SecretHash, &client.SecretHash}, {".previous_secret_hash", c.PreviousSecretHash, &client.PreviousHash}} {
		if hash.text == "" {
			continue
		}
		if !hexSHA256.MatchString(hash.text) {
			problems.Add(key+hash.name, "is not 64 hex digits in lower case", `make it by: printf %s "$SECRET" | sha256sum`)
			continue
		}
		*hash.into, _ = hex.DecodeString(hash.text) // it has only hex digits
	}
	if c.JWKSFile != "" {
		text, _, err := private.ReadNamed(c.JWKSFile, maxFile)
		client.JWKS = json.RawMessage(strings.TrimSpace(text))
		switch {
		case err != nil:
			problems.Add(key+".jwks_file", err.Error(), "")
			client.JWKS = nil
		case !json.Valid(client.JWKS):
			problems.Add(key+".jwks_file", "names a file that is not JSON", `a key set is a JSON object with the public keys in "keys" (RFC 7517 §5)`)
			client.JWKS = nil
		}
	}
	return client, problems
}

func (c *checker) clients() {
	limits := directory.ClientLimits{Policy: c.cfg.Policy(), Shared: c.cfg.Store.Shared()}
	for _, id := range c.cfg.ids(path{"clients"}) {
		configured, key := c.cfg.Clients[id], "clients."+id
		client, problems := configured.of(id)
		c.addAll(problems)
		c.authentication(key, configured)
		if !configured.Public && directory.NewClientRecord(client).Public() { // another problem than its grants
			client.SecretHash = make([]byte, sha256.Size)
		}
		for _, p := range directory.ValidateClient(client, limits) {
			at := key
			switch {
			case strings.HasPrefix(p.Key, "workloads["):
				at, p.Message = key+".workloads", strings.TrimPrefix(p.Key, "workloads")+" "+p.Message
			case p.Key == "jwks":
				at = key + ".jwks_file"
			case p.Key != "":
				at = key + "." + p.Key
			}
			c.add(at, p.Message, p.Hint)
		}
	}
}

// authentication checks that the client is either public or has ways to authenticate, and its secrets.
func (c *checker) authentication(key string, client Client) {
	hasSecret := client.Secret.Set() || client.SecretHash != ""
	other := client.JWKSFile != "" || client.JWKSURI != "" || len(client.Workloads) > 0
	switch {
	case client.Secret.Set() && client.SecretHash != "", client.Public && hasSecret:
		c.add(key, "has more than one of public, secret and secret_hash", "keep one")
	case client.Public && other:
		c.add(key, "is public and has jwks_file, jwks_uri or workloads", "keep one: a public client cannot authenticate")
	case !client.Public && !hasSecret && !other:
		c.add(key, "has neither a secret nor public: true", "a SPA is public; a service needs secret, secret_file or secret_hash, or jwks_file, jwks_uri or workloads")
	}
	previous := client.PreviousSecret.Set() || client.PreviousSecretHash != ""
	switch {
	case client.PreviousSecret.Set() && client.PreviousSecretHash != "":
		c.add(key, "has both previous_secret and previous_secret_hash", "keep one")
	case previous && !hasSecret:
		c.add(key, "has a previous secret and no secret", "set secret to the new one")
	}
	c.secret(key+".secret", client.Secret, client.SecretHash)
	c.secret(key+".previous_secret", client.PreviousSecret, client.PreviousSecretHash)
}

// secret checks a secret and its hash, of which one is empty.
func (c *checker) secret(key string, secret Secret, hash string) {
	if secret.Set() && !c.published(key, secret) && utf8.RuneCountInString(secret.Reveal()) < minClientSecret {
		c.add(key, "is shorter than 32 characters", "make one by `openssl rand -base64 32`")
	}
	key += "_hash"
	if sum := sha256.Sum256(nil); hash == hex.EncodeToString(sum[:]) {
		c.add(key, "is the hash of an empty text", `$SECRET was empty: make a secret by `+"`openssl rand -base64 32`")
	}
	for _, known := range publishedSecrets {
		if sum := sha256.Sum256([]byte(known)); hash == hex.EncodeToString(sum[:]) {
			c.add(key, "is the hash of a secret from the documentation", "make a secret by `openssl rand -base64 32`")
		}
	}
}

// published adds a problem and returns true if s is one of publishedSecrets.
func (c *checker) published(key string, s Secret) bool {
	if !slices.Contains(publishedSecrets, strings.ToLower(s.Reveal())) {
		return false
	}
	c.add(key, "is a secret from the documentation", "make one by `openssl rand -base64 32`")
	return true
}

func (c *checker) scopes(key string, scopes []string) {
	for _, scope := range scopes {
		if flaw := directory.ScopeFlaw(scope); flaw != "" {
			message, hint, _ := strings.Cut(flaw, ": ")
			c.add(key, strconv.Quote(scope)+" "+message, hint)
		}
	}
}

// oauth checks what clients have in common, and the directory of the pages.
func (c *checker) oauth() {
	audiences := slices.Concat(c.cfg.Tokens.Audience, c.cfg.OAuth.CIMD.Audiences, c.cfg.OAuth.Registration.Audiences)
	for _, client := range c.cfg.Clients {
		audiences = append(audiences, client.Audiences...)
	}
	seen := map[string]string{}
	for _, audience := range c.cfg.ids(path{"oauth", "resources"}) {
		key, uri := "oauth.resources."+audience, c.cfg.OAuth.Resources[audience]
		if !slices.Contains(audiences, audience) {
			hint := "name one of tokens.audience, or of a client's audiences"
			if best := didYouMean(audience, audiences); best != "" {
				hint = "did you mean " + best + "?"
			}
			c.add(key, "is not the resource of an audience", hint)
		}
		u, err := url.Parse(uri)
		switch {
		case err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" && u.Path == "":
			c.add(key, "is not an absolute URI", "such as https://api.example.com/ (RFC 8707 §2)")
		case strings.Contains(uri, "#"):
			c.add(key, "has a fragment, which a resource must not have (RFC 8707 §2)", "remove # and the text after it")
		case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }):
			c.add(key, "has a space or a character that is not printable ASCII", "escape it, such as %20 for a space")
		case seen[uri] != "":
			c.add(key, "is the resource of "+seen[uri]+" also", "give each audience its own URI")
		case slices.Contains(audiences, uri) && uri != audience:
			c.add(key, "is an audience itself", "use another URI: services could not distinguish the two")
		}
		seen[uri] = audience
	}
	for _, scope := range c.cfg.ids(path{"oauth", "scopes"}) {
		key, text := "oauth.scopes."+scope, c.cfg.OAuth.Scopes[scope]
		if directory.ScopeFlaw(scope) != "" {
			c.add(key, "is not the text of a scope", "a scope has printable characters without space, quote and backslash")
		}
		if text == "" || !utf8.ValidString(text) || utf8.RuneCountInString(text) > 200 || strings.ContainsFunc(text, directory.Disguising) {
			c.add(key, "is not a line of 1 to 200 characters", "it is shown on the consent page, such as: read your greetings")
		}
	}
	if dir := c.cfg.Pages.Dir; dir != "" {
		info, err := os.Stat(dir)
		switch {
		case !filepath.IsAbs(dir):
			c.add("pages.dir", "is not an absolute path", "such as /etc/tokenbroker/pages")
		case err != nil:
			c.add("pages.dir", "cannot be read: "+strings.TrimPrefix(err.Error(), "stat "), "create the directory, or leave it out")
		case !info.IsDir():
			c.add("pages.dir", "is not a directory", "")
		}
	}
}
