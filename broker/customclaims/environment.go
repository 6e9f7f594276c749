package customclaims

import (
	"errors"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"tokenbroker/broker/credential"
)

// userVars is the variable user. The tags are the names in expressions.
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

// variables is the input of one evaluation. It implements cel.Activation without a map.
type variables struct {
	user     userVars
	identity identityVars
	client   clientVars
	session  sessionVars
}

func newVariables(in credential.ClaimsInput) (*variables, error) {
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

// maxText is the longest result of join and replace. Those of the extension can grow in one step by
// more than CEL's cost limit can stop in time, and its format has no cost.
const maxText = 16 << 10

var errLongText = errors.New("the text is longer than 16 KiB")

// textFunctions returns the strings extension without format and quote, and with a bounded join and
// replace.
func textFunctions() (cel.EnvOption, error) {
	extension, err := cel.NewCustomEnv(ext.Strings())
	if err != nil {
		return nil, err
	}
	var chosen []*decls.FunctionDecl
	for _, name := range []string{"charAt", "indexOf", "lastIndexOf", "lowerAscii", "upperAscii", "reverse", "split", "substring", "trim"} {
		chosen = append(chosen, extension.Functions()[name])
	}
	texts := cel.ListType(cel.StringType)
	options := []cel.EnvOption{
		cel.FunctionDecls(chosen...),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{texts}, cel.StringType,
				cel.UnaryBinding(func(list ref.Val) ref.Val { return join(list, types.String("")) })),
			cel.MemberOverload("list_join_string", []*cel.Type{texts, cel.StringType}, cel.StringType, cel.BinaryBinding(join))),
		cel.Function("replace",
			cel.MemberOverload("string_replace_string_string", []*cel.Type{cel.StringType, cel.StringType, cel.StringType},
				cel.StringType, cel.FunctionBinding(replace))),
	}
	return func(e *cel.Env) (*cel.Env, error) {
		for _, option := range options {
			if e, err = option(e); err != nil {
				return nil, err
			}
		}
		return e, nil
	}, nil
}

func join(listed, separator ref.Val) ref.Val {
	list, ok := listed.(traits.Lister)
	between, isText := separator.(types.String)
	if !ok || !isText {
		return types.MaybeNoSuchOverloadErr(listed)
	}
	var out strings.Builder
	for it, first := list.Iterator(), true; it.HasNext() == types.True; first = false {
		next := it.Next()
		text, ok := next.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(next)
		}
		if !first {
			out.WriteString(string(between))
		}
		out.WriteString(string(text))
		if out.Len() > maxText {
			return types.WrapErr(errLongText)
		}
	}
	return types.String(out.String())
}

func replace(args ...ref.Val) ref.Val {
	text, ok1 := args[0].(types.String)
	from, ok2 := args[1].(types.String)
	to, ok3 := args[2].(types.String)
	if !ok1 || !ok2 || !ok3 {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	if len(text)+strings.Count(string(text), string(from))*(len(to)-len(from)) > maxText {
		return types.WrapErr(errLongText)
	}
	return types.String(strings.ReplaceAll(string(text), string(from), string(to)))
}
