// Package api is the broker's HTTP surface: it turns requests into calls of the broker's
// use cases and their answers into HTTP, and decides nothing itself.
//
// [New] makes the public handler, [NewAdmin] the one of the operators' listeners. Both are
// given everything they call through the small interfaces in config.go and operators.go, so
// the package knows no store, no key and no network.
//
// A request passes, in this order: request id and access log (accesslog.go), CORS and
// pre-flights (cors.go), the router (router.go), and in a browser endpoint the order of
// refusal: content type 415, origin 403, size 413, body 400, cookie 400 or 401, and then
// whatever the broker refuses. An operator's request passes a guard of its own
// (admin_guard.go): host 421, origin 403, who asks 401. Every refusal is an RFC 9457
// problem with a stable code; problem.go is the one place where a code becomes a status.
package api
