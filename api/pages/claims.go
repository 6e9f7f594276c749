package pages

import (
	"strings"

	"tokenbroker/broker"
)

// claims are what a page says about the client of a request. The host of a metadata document is proven, because the broker fetched
// the document from there; the name of a client that describes itself is its own claim.
type claims struct {
	Name string
	// Unverified is whether the client describes itself, and Claimed whether Name is its own claim.
	Unverified, Claimed bool
	// ID is the URL of the client's metadata document, and Host where it is. They are empty without a document.
	ID   string
	Host address
	// Local is whether the client's answer goes to a program on the user's computer.
	Local bool
}

func claimsOf(a *broker.Authorization) claims {
	c := claims{Name: a.ClientName}
	if a.Class == broker.ClassKnown {
		return c
	}
	c.Unverified, c.Local = true, isLoopback(a.RedirectURI)
	if a.Class == broker.ClassDocument {
		c.ID, c.Host = a.ClientID, addressOf(a.ClientID)
	}
	switch {
	case a.ClientName != a.ClientID && a.ClientName != c.host():
		c.Claimed = true
	case c.ID != "": // it has no name that can be shown
		c.Name = c.host()
	}
	return c
}

// host returns the host of the document, with its port.
func (c claims) host() string { return strings.TrimPrefix(c.Host.String(), "http://") }

// lead returns the key of the text by which the sign-in page names the client, and the name there. A page that asks for a password
// names a client with a document by the host, not by a claim.
func (c claims) lead() (key, name string) {
	switch {
	case !c.Unverified:
		return "sign_in.lead", c.Name
	case c.ID != "":
		return "sign_in.unverified", c.host()
	}
	return "sign_in.unverified", c.Name
}

// title returns the key of the consent page's title.
func (c claims) title() string {
	if c.Claimed {
		return "consent.unverified.title"
	}
	return "consent.title"
}
