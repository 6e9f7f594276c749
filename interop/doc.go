// Package interop checks that clients of other projects work with the broker as they are: oauth2-proxy as a process in front of a
// page, the authenticator of kube-apiserver, the conformance suite of MCP, and the MCP clients of the TypeScript and the Go SDK. It is
// a module of its own, because the broker must not depend on them.
package interop
