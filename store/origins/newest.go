//go:build !tokenbroker_next

package origins

// newest is 2 since sessions can be grants: a program that speaks only version 1 would not end them with their browser session.
const newest = 2
