package config

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"
)

// tokens checks algorithm, audience, lifetimes, the keyring and the log.
func (c *checker) tokens() {
	c.oneOf("tokens.algorithm", c.cfg.Tokens.Algorithm, "ES256", "EdDSA", "RS256", "PS256")
	c.required("tokens.audience", len(c.cfg.Tokens.Audience) > 0, "names of the services that accept the tokens, as [my-api]")
	c.names("tokens.audience", c.cfg.Tokens.Audience)
	c.lifetimes()
	if n := c.cfg.Sessions.MaxPerUser; n < 1 || n > 1000 {
		c.add("sessions.max_per_user", fmt.Sprintf("is %d, not 1 to 1000", n), "leave it out for 100")
	}
	if kek := c.cfg.Keyring.KEK; kek.Set() {
		raw, err := base64.StdEncoding.Strict().DecodeString(kek.Reveal())
		if err != nil || len(raw) != 32 {
			c.add("keyring.kek", "is not 32 bytes in base64", "make one by `openssl rand -base64 32`")
		} else if bytes.Count(raw, []byte{0}) == len(raw) {
			c.add("keyring.kek", "is 32 bytes of zero", "make one by `openssl rand -base64 32`")
		}
	}
	c.rotation()
	c.oneOf("log.level", c.cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", c.cfg.Log.Format, "text", "json")
}

func (c *checker) lifetimes() {
	lives := c.cfg.Lifetimes
	switch access := lives.AccessToken.Std(); {
	case access < time.Second || access > time.Hour:
		c.add("lifetimes.access_token", "is not between 1s and 1h", "5m is a good life: refreshing is cheap")
	case access%time.Second != 0:
		c.add("lifetimes.access_token", "is not whole seconds", "")
	}
	if lives.SessionAbsolute <= 0 {
		c.add("lifetimes.session_absolute", "is not positive", "as 90d")
	}
	switch {
	case lives.SessionIdle <= 0:
		c.add("lifetimes.session_idle", "is not positive", "as 14d")
	case lives.SessionAbsolute > 0 && lives.SessionIdle > lives.SessionAbsolute:
		c.add("lifetimes.session_idle", "is longer than session_absolute, "+lives.SessionAbsolute.String(), "make it that or shorter")
	case lives.SessionIdle < lives.AccessToken+lives.RefreshGrace:
		c.add("lifetimes.session_idle", "is shorter than access_token and refresh_grace together", "sessions would end before their next refresh: as 14d")
	}
	if grace := lives.RefreshGrace.Std(); grace < 0 || grace > 5*time.Minute {
		c.add("lifetimes.refresh_grace", "is not between 0s and 5m", "10s bears with tabs and lost answers")
	}
	if cache := lives.JWKSCache.Std(); cache < time.Second || cache > 24*time.Hour || cache%time.Second != 0 {
		c.add("lifetimes.jwks_cache", "is not whole seconds, 1s to 1d", "services keep a withdrawn key for that long: as 5m")
	}
}

// rotation leaves time between two rotations for a key to become known, sign, and be forgotten.
func (c *checker) rotation() {
	every, cache := c.cfg.Keyring.RotateEvery, c.cfg.Lifetimes.JWKSCache
	switch {
	case every == 0:
	case every.Std() < time.Hour || every > 400*Day:
		c.add("keyring.rotate_every", "is not 1h to 400d", "as 30d, or 0s to rotate by hand alone")
	case every < 2*cache:
		c.add("keyring.rotate_every", "is shorter than twice lifetimes.jwks_cache", "a key is published for that long before it signs")
	}
}
