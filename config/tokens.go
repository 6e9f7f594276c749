package config

import (
	"strings"

	"tokenbroker/broker/session"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// tokens checks algorithm, audience, lifetimes, the keyring and the log.
func (c *checker) tokens() {
	c.oneOf("tokens.algorithm", c.cfg.Tokens.Algorithm, lifecycle.Algorithms()...)
	c.required("tokens.audience", len(c.cfg.Tokens.Audience) > 0, "names of the services that accept the tokens, such as [my-api]")
	c.names("tokens.audience", c.cfg.Tokens.Audience)
	c.addAll(c.cfg.Policy().Check())
	c.addAll(c.cfg.Schedule().Check())
	if kek := c.cfg.Keyring.KEK; kek.Set() {
		if _, err := keyring.ParseKEK([]byte(kek.Reveal())); err != nil {
			c.add("keyring.kek", strings.TrimPrefix(err.Error(), "keyring: "), "")
		}
	}
	c.oneOf("log.level", c.cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", c.cfg.Log.Format, "text", "json")
}

// Policy returns the policy of sessions.
func (c *Config) Policy() session.Policy {
	return session.Policy{
		AccessLife: c.Lifetimes.AccessToken.Std(), Idle: c.Lifetimes.SessionIdle.Std(), Absolute: c.Lifetimes.SessionAbsolute.Std(),
		Grace: c.Lifetimes.RefreshGrace.Std(), MaxSessions: c.Sessions.MaxPerUser,
	}
}

// Schedule returns the algorithm and the times of the signing keys.
func (c *Config) Schedule() keyring.Schedule {
	return keyring.Schedule{
		Algorithm: lifecycle.Algorithm(c.Tokens.Algorithm), JWKSMaxAge: c.Lifetimes.JWKSCache.Std(), RotateEvery: c.Keyring.RotateEvery.Std(),
	}
}
