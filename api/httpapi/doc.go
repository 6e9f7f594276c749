// Package httpapi holds the HTTP conventions that the endpoints of all audiences share.
package httpapi
