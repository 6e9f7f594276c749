// Package upstream proves identities at OpenID Connect providers: AWS Cognito and any
// other issuer, on go-oidc and x/oauth2. A [Provider] is built lazily, so one that is down
// does not keep the broker from starting; its key set is bounded in time, size and rate.
package upstream
