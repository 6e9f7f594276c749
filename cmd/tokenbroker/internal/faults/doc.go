// Package faults has tests only. They run brokers, and etcd members or PostgreSQL servers, as processes, break the processes and the
// connections between them, and check what clients and services saw. docs/decisions/0032 describes how.
package faults
