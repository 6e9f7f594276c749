// Package benchrun measures a token broker: one that it starts itself ([StartOwn]), in this
// process with a temporary store and an embedded NATS server, or one at a URL ([At]).
//
// A [Bench] fills its report run by run, each beside its floor, with which it takes turns; so
// that a bench that is stopped has what it measured until then.
package benchrun
