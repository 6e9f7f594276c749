package benchrun

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"tokenbroker/bench/load"
	"tokenbroker/broker/password"
)

// Operation is what a capacity bench asks for.
type Operation string

// The operations.
const (
	OperationRefresh Operation = "refresh"
	OperationVerify  Operation = "verify"
	OperationSignIn  Operation = "sign-in"
)

// Operations are all of them.
var Operations = []Operation{OperationRefresh, OperationVerify, OperationSignIn}

// operation makes the work of so many clients, and its floor. stop is never nil.
func (b *Bench) operation(ctx context.Context, op Operation, clients int) (work, floor load.Work, stop func(), err error) {
	if op == OperationSignIn {
		work, floor, err = b.signInWork(ctx, clients)
		return work, floor, func() {}, err
	}
	sessions, err := b.signIn(ctx, clients)
	stop = func() { b.signOut(ctx, sessions) }
	if err != nil {
		return nil, nil, stop, err
	}
	floor, stopFloor, err := b.refreshFloor()
	if err != nil {
		return nil, nil, stop, err
	}
	work = b.refreshing(sessions, clients)
	if op == OperationVerify {
		work = b.verifying(sessions)
		if b.Server.Own() {
			stopFloor()
			if floor, stopFloor, err = b.echoFloor(`{"token":"` + sessions[0].token + `"}`); err != nil {
				return nil, nil, stop, err
			}
		}
	}
	return work, floor, func() { stopFloor(); b.signOut(ctx, sessions) }, nil
}

// verifying is the work of having each client's token verified over HTTP.
func (b *Bench) verifying(sessions []*browser) load.Work {
	return func(ctx context.Context, worker int) error {
		_, err := b.Server.post(ctx, "/auth/verify/", `{"token":"`+sessions[worker].token+`"}`, "")
		return err
	}
}

// echoFloor is a handler that is sent that body.
func (b *Bench) echoFloor(body string) (load.Work, func(), error) {
	h, err := startHandler()
	if err != nil {
		return nil, nil, err
	}
	b.Report.Floor = floorBytes
	return h.work(echoPath, body), h.stop, nil
}

// signInWork signs each client's own user in over HTTP, at an own server: one at a URL has
// one user, of whom its throttle lets a few in at once, and would keep all the sessions.
func (b *Bench) signInWork(ctx context.Context, clients int) (work, floor load.Work, err error) {
	s := b.Server
	if !s.Own() {
		return nil, nil, usage("--operation sign-in is for the bench's own server: at --url it would open sessions without end, all of one user")
	}
	if clients > ownUsers {
		return nil, nil, usage("--operation sign-in: want at most %d --clients, a user for each", ownUsers)
	}
	b.Progress.Begin("add users", 1)
	err = s.addUsers(ctx, clients)
	b.Progress.End()
	if err != nil {
		return nil, nil, err
	}
	b.Report.Floor = floorPassword
	b.Report.Notes = append(b.Report.Notes, fmt.Sprintf("passwords cost what they do in service: argon2id with %d MiB and %d passes", s.params.Memory/1024, s.params.Time))
	hasher := password.New(s.params, runtime.GOMAXPROCS(0), floorClients, 0)
	return func(ctx context.Context, worker int) error {
			_, err := s.post(ctx, "/auth/sign-in/", signInBody(Account{ownUser(worker), ownPassword}), "")
			return err
		}, func(ctx context.Context, _ int) error {
			_, err := hasher.Hash(ctx, strings.Repeat("p", len(ownPassword)))
			return err
		}, nil
}
