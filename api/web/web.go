// Package web holds the files that the broker serves to browsers: client.js, the SPA's
// SDK with its types, and the demo page of `tokenbroker dev`.
package web

import "embed"

// Files are served below /web/, except demo.html, a template, and icon.svg, which is
// /favicon.ico.
//
//go:embed client.js client.d.ts icon.svg demo.html demo.css demo.js demo-services.js demo-story.js demo-words.js
var Files embed.FS
