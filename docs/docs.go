// Package docs holds the documentation, to which the demo page of `tokenbroker dev` links.
package docs

import "embed"

// Files are the documents, with the guides in the directory guides.
//
//go:embed *.md guides/*.md
var Files embed.FS
