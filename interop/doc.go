// Package interop checks that clients of other projects work with the broker as they are: oauth2-proxy as a process in front of a
// page, and the authenticator of kube-apiserver. It is a module of its own, because the broker must not depend on them.
package interop
