package commit

import (
	"context"

	"tokenbroker/broker"
)

// AuditGrants writes an audit line for each grant that has ended because the message ended its browser session.
func (r Result) AuditGrants(ctx context.Context, audit broker.Audit, req broker.Request) {
	for _, grant := range r.Effects.Ended {
		audit.Info(ctx, "grant_ended", req, "uid", grant.UID, "sid", grant.SID, "client", grant.ClientID, "by", grant.BrowserSID, "reason", string(grant.Ended.Reason))
	}
}
