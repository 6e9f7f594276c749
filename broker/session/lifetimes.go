package session

import (
	"fmt"
	"time"

	"tokenbroker/internal/setting"
)

// Policy has the lifetimes and limits by which [Step] decides.
type Policy struct {
	AccessLife time.Duration // of an access token
	Idle       time.Duration // of a session between two rotations
	Absolute   time.Duration // of a session
	Grace      time.Duration // in which a superseded refresh token still gets the current one
	// MaxSessions is the maximum number of active sessions of a user.
	MaxSessions int
}

// of returns the policy with the lifetimes that the session has of its own.
func (p Policy) of(s *Session) Policy {
	if s.AbsoluteS == 0 {
		return p
	}
	p.Absolute, p.Grace = time.Duration(s.AbsoluteS)*time.Second, time.Duration(s.GraceS)*time.Second
	if s.IdleS > 0 {
		p.Idle = time.Duration(s.IdleS) * time.Second
	}
	if s.AccessS > 0 {
		p.AccessLife = min(p.AccessLife, time.Duration(s.AccessS)*time.Second)
	}
	return p
}

const day = 24 * time.Hour

// DefaultPolicy is the policy that applies if nothing is configured.
var DefaultPolicy = Policy{AccessLife: 5 * time.Minute, Idle: 14 * day, Absolute: 90 * day, Grace: 10 * time.Second, MaxSessions: 100}

// The bounds of a [Policy] that an operator configures.
const (
	minAccessLife = time.Second
	MaxAccessLife = time.Hour // of a token of any broker
	maxGrace      = 5 * time.Minute
	minGrace      = 5 * time.Second // on a store that several brokers share, if it is not zero
	maxSessions   = 1000
)

// Check returns the problems of a policy that an operator configured. [Step] accepts any policy,
// because tests use shorter lifetimes.
func (p Policy) Check() setting.Problems {
	var ps setting.Problems
	switch {
	case p.AccessLife < minAccessLife || p.AccessLife > MaxAccessLife:
		ps.Add("lifetimes.access_token", "is not between 1s and 1h", "5m is a good value: refreshing is cheap")
	case p.AccessLife%time.Second != 0:
		ps.Add("lifetimes.access_token", "is not whole seconds", "")
	}
	if p.Absolute <= 0 {
		ps.Add("lifetimes.session_absolute", "is not positive", "such as 90d")
	}
	switch {
	case p.Idle <= 0:
		ps.Add("lifetimes.session_idle", "is not positive", "such as 14d")
	case p.Absolute > 0 && p.Idle > p.Absolute:
		ps.Add("lifetimes.session_idle", "is longer than session_absolute, "+setting.Duration(p.Absolute).String(), "make it that or shorter")
	case p.Idle < p.AccessLife+p.Grace:
		ps.Add("lifetimes.session_idle", "is shorter than access_token and refresh_grace together", "sessions would end before their next refresh: as 14d")
	}
	if p.Grace < 0 || p.Grace > maxGrace {
		ps.Add("lifetimes.refresh_grace", "is not between 0s and 5m", "10s tolerates tabs that refresh at once, and lost answers")
	}
	if p.MaxSessions < 1 || p.MaxSessions > maxSessions {
		ps.Add("sessions.max_per_user", fmt.Sprintf("is %d, not 1 to %d", p.MaxSessions, maxSessions), fmt.Sprintf("leave it out for %d", DefaultPolicy.MaxSessions))
	}
	return ps
}

// CheckShared returns the problems of a policy on a store that several brokers share, in addition to those
// of [Policy.Check]. There, the time of a rotation and the time of the request that is
// compared with it may come from the clocks of two brokers, which may differ by up to 4 s.
func (p Policy) CheckShared() setting.Problems {
	var ps setting.Problems
	if p.Grace > 0 && p.Grace < minGrace {
		ps.Add("lifetimes.refresh_grace", "is shorter than 5s, and several brokers share the store", "the clocks of two brokers may differ by seconds: as 10s, or 0s for no grace")
	}
	return ps
}
