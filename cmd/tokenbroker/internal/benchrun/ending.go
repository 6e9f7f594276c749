package benchrun

import (
	"context"
	"path/filepath"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/revocation"
)

// endSession ends a session and its tokens everywhere.
type endSession func(ctx context.Context, b *browser) error

// ending is the way to end sessions, and how it is given back.
func (s *Server) ending(by string) (end endSession, stop func(), err error) {
	if by == ByLogOff {
		return s.logOff, func() {}, nil
	}
	if !s.Own() {
		return nil, nil, usage("--by revoke asks the operators' API: that is for the bench's own server, not for --url")
	}
	client, err := adminclient.Locate(adminclient.Options{
		Admin: s.own.AdminURL(), TokenFile: filepath.Join(s.dataDir, node.AdminTokenFile),
	})
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, b *browser) error {
		_, err := client.Revoke(ctx, adminclient.Revocation{Kind: revocation.KindSID, Value: b.sid})
		return err
	}, client.Close, nil
}
