// Package adminclient finds a running server and asks what operators ask of it.
//
// [Locate] turns flags, the environment and the pointer that a running dev leaves into a
// [Client]; it opens no connection. Every method of the client is one request to /admin/v1
// and answers with broker's own types. What the server refuses is a [*Problem]; a server
// that cannot be reached is [ErrNoServer], with what was tried:
//
//	client, err := adminclient.Locate(adminclient.Options{DataDir: "/var/lib/tokenbroker"})
//	if err != nil { … }
//	defer client.Close()
//	user, err := client.User(ctx, "ada")
//
// [WritePointer] is for dev alone: how it lets itself be found without any flag.
package adminclient
