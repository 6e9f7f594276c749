package customclaims

import (
	"time"

	"cel.dev/cel-go/cel"

	"tokenbroker/broker"
)

// userVars is the variable user; the others likewise. The tags are the names in expressions.
type userVars struct {
	ID         string         `cel:"id"`
	Username   string         `cel:"username"`
	Local      bool           `cel:"local"`
	Attributes map[string]any `cel:"attributes"`
	Roles      []string       `cel:"roles"`
	Groups     []string       `cel:"groups"`
	CreatedAt  time.Time      `cel:"created_at"`
	LastLogin  time.Time      `cel:"last_login"`
}

type identityVars struct {
	Provider string `cel:"provider"`
	Issuer   string `cel:"issuer"`
	Subject  string `cel:"subject"`
}

type clientVars struct {
	ID string `cel:"id"`
}

type sessionVars struct {
	ID        string    `cel:"id"`
	Scope     string    `cel:"scope"`
	ACR       string    `cel:"acr"`
	AMR       []string  `cel:"amr"`
	Device    string    `cel:"device"`
	AuthTime  time.Time `cel:"auth_time"`
	CreatedAt time.Time `cel:"created_at"`
}

// variables is one evaluation's input: cel.Activation without a map.
type variables struct {
	user     userVars
	identity identityVars
	client   clientVars
	session  sessionVars
}

func newVariables(in broker.ClaimsInput) (*variables, error) {
	attributes, err := doubles(in.User.Attributes)
	if err != nil {
		return nil, err
	}
	u, s := in.User, in.Session
	return &variables{
		user: userVars{
			ID: u.ID, Username: u.Username, Local: u.Local, Attributes: attributes, Roles: u.Roles, Groups: u.Groups,
			CreatedAt: u.CreatedAt.UTC(), LastLogin: u.LastLogin.UTC(),
		},
		identity: identityVars(in.Identity),
		client:   clientVars(in.Client),
		session: sessionVars{
			ID: s.ID, Scope: s.Scope, ACR: s.ACR, AMR: s.AMR, Device: s.Device,
			AuthTime: s.AuthTime.UTC(), CreatedAt: s.CreatedAt.UTC(),
		},
	}, nil
}

// ResolveName implements cel.Activation.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "user":
		return &v.user, true
	case "identity":
		return &v.identity, true
	case "client":
		return &v.client, true
	case "session":
		return &v.session, true
	default:
		return nil, false
	}
}

// Parent implements cel.Activation.
func (v *variables) Parent() cel.Activation { return nil }
