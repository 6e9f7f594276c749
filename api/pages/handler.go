// Package pages serves the pages of sign-in, consent and log-out, and the authorization endpoint that shows them.
package pages
