package api

import (
	"bytes"
	"slices"
)

// shownClaims are the members of [introspected], in its order.
var shownClaims = []string{
	"iss", "sub", "aud", "client_id", "username", "scope", "exp", "iat", "nbf", "auth_time", "jti", "sid", "sep", "cep",
}

// scanIntrospection makes of verified claims what encoding/json makes of an active
// [introspection] with them. It takes compact ASCII without escapes, as this broker signs it;
// with false, encoding/json has to do it.
func scanIntrospection(claims []byte) (answer []byte, ok bool) {
	var values [14][]byte
	rest, ok := bytes.CutPrefix(claims, []byte("{"))
	for ok {
		var name, value []byte
		if name, rest, ok = cutValue(rest); !ok || name[0] != '"' {
			return nil, false
		}
		if rest, ok = bytes.CutPrefix(rest, []byte(":")); !ok {
			return nil, false
		}
		if value, rest, ok = cutValue(rest); !ok {
			return nil, false
		}
		if i := slices.Index(shownClaims, string(name[1:len(name)-1])); i >= 0 {
			if values[i] != nil || string(value) == "null" || shownClaims[i] == "username" && value[0] != '"' {
				return nil, false
			}
			values[i] = value
		}
		rest, ok = bytes.CutPrefix(rest, []byte(","))
	}
	if string(rest) != "}" {
		return nil, false
	}
	answer = append(make([]byte, 0, len(claims)+64), `{"active":true,"token_type":"Bearer"`...)
	for i, value := range values {
		if value != nil {
			answer = append(append(append(answer, `,"`...), shownClaims[i]...), `":`...)
			answer = append(answer, value...)
		}
	}
	return append(answer, '}'), true
}

// cutValue cuts the JSON value at the beginning of verified, so well-formed, JSON.
func cutValue(data []byte) (value, rest []byte, ok bool) {
	depth, inString := 0, false
	for i, c := range data {
		switch {
		case c <= ' ' && !inString, c < ' ', c > '~', c == '\\', c == '<', c == '>', c == '&':
			return nil, nil, false
		case c == '"':
			inString = !inString
			if !inString && depth == 0 {
				return data[:i+1], data[i+1:], true
			}
		case inString:
		case c == '{', c == '[':
			depth++
		case depth == 0 && (c == ',' || c == '}' || c == ']' || c == ':'):
			return data[:i], data[i:], i > 0
		case c == '}', c == ']':
			if depth--; depth == 0 {
				return data[:i+1], data[i+1:], true
			}
		}
	}
	return nil, nil, false
}
