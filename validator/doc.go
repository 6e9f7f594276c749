// Package validator lets a service decide by itself, in memory, whether an access token
// is good: signed by the broker (RFC 9068), meant for this service, unexpired by the
// broker's clock and not revoked.
//
// A service makes one [Validator] with [New] when it starts, asks [Validator.Validate]
// for each request (or lets [tokenbroker/validator/httpauth] do it) and closes it when it
// ends:
//
//	v, err := validator.New(ctx, validator.Config{
//		Issuer:   "https://login.example.com",
//		Audience: "orders",
//		Client:   validator.Client{ID: "orders", Secret: secret},
//		Feed:     natsfeed.Feed{URL: "nats://nats.example.com:4222"},
//	})
//	if err != nil {
//		return err
//	}
//	defer v.Close()
//	claims, err := v.Validate(ctx, token)
//
// The Validator fetches the broker's keys and live revocations over HTTP and keeps them
// current from the feed. It promises never to accept a token whose revocation was
// acknowledged longer than Config.MaxStaleness ago: when it cannot prove that it heard of
// everything, it says [ErrStale] and nothing else (503, not 401), or does what
// Config.OnStale says. Where a revocation has to count sooner than elsewhere, ask with
// [MaxStaleness].
//
// What outlives its request (a WebSocket, a stream of events) is bound to its token with
// [Validator.Bind]: a context that ends the moment the token is revoked or expires.
//
// A service's own tests use [tokenbroker/validator/validatortest].
package validator
