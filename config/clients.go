package config

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const minClientSecret = 32

// publishedSecrets are in the documentation of `tokenbroker dev`, so they are not secret.
var publishedSecrets = []string{"demo-service-secret", "demo-web-secret", "admin"}

var (
	clientID   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`) // RFC 6749 §3.3
	hexSHA256  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (c *checker) clients() {
	for _, id := range c.cfg.ids(path{"clients"}) {
		client, key := c.cfg.Clients[id], "clients."+id
		if !clientID.MatchString(id) {
			c.add(key, "is not a client id", "letters, digits, dot, - and _")
		}
		ways := 0
		for _, way := range []bool{client.Public, client.Secret.Set(), client.SecretHash != ""} {
			if way {
				ways++
			}
		}
		switch ways {
		case 0:
			c.add(key, "has neither a secret nor public: true", "a SPA is public; a service needs secret, secret_file or secret_hash")
		case 1:
		default:
			c.add(key, "has more than one of public, secret and secret_hash", "keep one")
		}
		if client.Secret.Set() && !c.published(key+".secret", client.Secret) && utf8.RuneCountInString(client.Secret.Reveal()) < minClientSecret {
			c.add(key+".secret", "is shorter than 32 characters", "make one by `openssl rand -base64 32`")
		}
		if client.SecretHash != "" {
			c.secretHash(key+".secret_hash", client.SecretHash)
		}
		c.scopes(key+".scopes", client.Scopes)
	}
}

func (c *checker) secretHash(key, hash string) {
	if !hexSHA256.MatchString(hash) {
		c.add(key, "is not 64 hex digits in lower case", `make it by: printf %s "$SECRET" | sha256sum`)
		return
	}
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
		if !scopeToken.MatchString(scope) {
			c.add(key, strconv.Quote(scope)+" is not a scope", "printable characters without space, quote and backslash; one item each")
		}
	}
}
