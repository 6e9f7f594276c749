// Package faults has tests only. They let the runs of several brokers use PostgreSQL servers that are killed, stopped and
// promoted, and check what their clients saw.
package faults
