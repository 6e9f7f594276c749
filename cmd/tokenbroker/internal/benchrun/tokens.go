package benchrun

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// tokenSessions is how many sessions at a URL give the tokens, by refreshing.
const tokenSessions = 16

// tokens gives n different access tokens: of an own server from as many sign-ins, of one at a
// URL from the refreshes of a few sessions, which the caller ends.
func (b *Bench) tokens(ctx context.Context, n int) (tokens []string, sessions []*browser, err error) {
	first := n
	if !b.Server.Own() {
		first = min(n, tokenSessions)
	}
	sessions, err = b.signIn(ctx, first)
	if err != nil {
		return nil, sessions, err
	}
	tokens = make([]string, n)
	for i, s := range sessions {
		tokens[i] = s.token
	}
	if n == first {
		return tokens, sessions, nil
	}
	b.Progress.Begin("fetch tokens", n-first)
	defer b.Progress.End()
	err = each(ctx, first, first, func(ctx context.Context, of int) error {
		for i := first + of; i < n; i += first {
			body, err := b.Server.refreshed(ctx, sessions[of])
			if err != nil {
				return err
			}
			var answer struct {
				AccessToken string `json:"access_token"`
			}
			if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
				return errors.New("the answer to a refresh has no access token")
			}
			tokens[i] = answer.AccessToken
			b.Progress.Add(1)
		}
		return nil
	})
	if err != nil {
		return nil, sessions, fmt.Errorf("fetching tokens: %w", err)
	}
	return tokens, sessions, nil
}

// tokenPart reads the header (0) or the claims (1) of a token that the server gave.
func tokenPart(token string, part int, into any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("the server's access token is no JWS")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("reading the server's access token: %w", err)
	}
	return nil
}

// audience is the first aud of a token: the service that it is for.
func audience(token string) (string, error) {
	var claims struct {
		Audience json.RawMessage `json:"aud"`
	}
	if err := tokenPart(token, 1, &claims); err != nil {
		return "", err
	}
	var one string
	if json.Unmarshal(claims.Audience, &one) == nil && one != "" {
		return one, nil
	}
	var all []string
	if json.Unmarshal(claims.Audience, &all) == nil && len(all) > 0 {
		return all[0], nil
	}
	return "", errors.New("the server's access token has no audience")
}
