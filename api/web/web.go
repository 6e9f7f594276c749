// Package web holds the files that the broker serves to browsers: client.js, the SPA's
// SDK with its types, and the demo page of `tokenbroker dev`.
package web

import "embed"

// Files are served below /web/, except demo.html, a template.
//
//go:embed client.js client.d.ts demo.js demo.css demo.html
var Files embed.FS
