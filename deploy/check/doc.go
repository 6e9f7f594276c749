// Package check has only tests: they render deploy/kubernetes with kustomize and deploy/helm with Helm, and check that both
// have the same objects, that Kubernetes knows every field of them, and that they are as safe as docs/kubernetes.md states.
// It is a separate module, so that the modules of Kubernetes are not dependencies of tokenbroker.
package check
