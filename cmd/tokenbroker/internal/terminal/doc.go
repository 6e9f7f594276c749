// Package terminal holds what the command lines of tokenbroker and tokenbroker-bench share: exit
// codes, usage errors, --output and reading secrets from standard input.
package terminal
