// Package docs holds the documentation, to which the demo page of `tokenbroker dev` links.
package docs

import "embed"

// Files are the documents.
//
//go:embed *.md
var Files embed.FS
