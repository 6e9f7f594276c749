package devidp

import (
	"errors"
	"slices"
	"time"
)

// scopes are the scopes that a client may request.
var scopes = []string{"openid", "email", "phone", "profile", "aws.cognito.signin.user.admin"}

// User is a user of the pool.
type User struct {
	Username, Password, Sub, Email string
	EmailVerified                  bool
	Groups                         []string
}

// Client is an app client. A public client has no secret and must use PKCE.
type Client struct {
	ID, Secret string
	// RedirectURIs and LogoutURIs are compared exactly.
	RedirectURIs, LogoutURIs []string
	// AnyLoopback also accepts every http and https URI at localhost, 127.0.0.1 or [::1], at any
	// port. Cognito requires them to be registered.
	AnyLoopback bool
}

// Config configures a [Server]. Issuer is the pool's URL. Its last segment is the pool's id.
type Config struct {
	Issuer string
	// UpdatedIssuer is the pool's issuer on another host, which AWS calls the updated one. If
	// empty, the pool has none. See [Server.UseUpdatedIssuer].
	UpdatedIssuer string
	Users         []User
	Clients       []Client
	Now           func() time.Time
}

// DevUsers returns the users that `tokenbroker dev` creates.
func DevUsers() []User {
	return []User{
		{Username: "admin", Password: "admin", Sub: "5f6b3c1e-0000-4000-8000-00000000ad31", Email: "admin@example.org", EmailVerified: true},
		{Username: "ada", Password: "ada", Sub: "5f6b3c1e-0000-4000-8000-0000000000ad", Email: "ada@example.org", EmailVerified: true, Groups: []string{"staff"}},
	}
}

func (s *Server) client(id string) (Client, bool) {
	i := slices.IndexFunc(s.cfg.Clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return s.cfg.Clients[i], true
}

var errUser = errors.New("devidp: no such user or wrong password")

func (s *Server) user(name, password string) (User, error) {
	for _, u := range s.cfg.Users {
		if u.Username == name && u.Password == password {
			return u, nil
		}
	}
	return User{}, errUser
}

// Faults are the failures that a test can enable. The zero value has none.
type Faults struct {
	Down, Oversized                                      bool
	Slow                                                 time.Duration
	WrongIssuer, WrongAudience, WrongNonce, WrongUse     bool
	Expired, UnknownKID, EmailUnverified, ForeignSubject bool
	// AuthorizeError is the error that the login page returns instead of a code.
	AuthorizeError string
}

// Set replaces the faults.
func (s *Server) Set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

func (s *Server) currentFaults() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// expiringMap keeps at most size values, the latest ones, until they expire. It is not safe for
// concurrent use.
type expiringMap[V any] struct {
	size  int
	items map[string]expiringItem[V]
	order []string // the names by age, also of removed values until size is reached
}

type expiringItem[V any] struct {
	value   V
	expires time.Time
}

func newExpiringMap[V any](size int) *expiringMap[V] {
	return &expiringMap[V]{size: size, items: map[string]expiringItem[V]{}}
}

// put keeps value under a name that was not used before.
func (s *expiringMap[V]) put(name string, value V, expires time.Time) {
	for len(s.order) >= s.size {
		delete(s.items, s.order[0])
		s.order = s.order[1:]
	}
	s.items[name] = expiringItem[V]{value: value, expires: expires}
	s.order = append(s.order, name)
}

func (s *expiringMap[V]) get(name string, now time.Time) (V, bool) {
	item, ok := s.items[name]
	if !ok || !now.Before(item.expires) {
		var none V
		return none, false
	}
	return item.value, true
}

// take returns the same as get and removes the value.
func (s *expiringMap[V]) take(name string, now time.Time) (V, bool) {
	value, ok := s.get(name, now)
	delete(s.items, name)
	return value, ok
}
