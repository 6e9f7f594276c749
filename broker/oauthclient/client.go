package oauthclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"tokenbroker/broker"
	"tokenbroker/broker/clientmetadata"
	"tokenbroker/broker/directory"
)

// maxClientID is the length of the longest client id that is looked up and is not the URL of a document.
const maxClientID = 256

// client returns the record of a client, with what its class may have now. It is zero for a client that is unknown or was removed. The
// error for a document that cannot be used is CodeInvalidClient, with the reason as a [refused], and for one that cannot be read now
// CodeUpstreamUnavailable. Both wrap [broker.ErrClientDocument]. Callers must not change the record's slices.
func (svc *Service) client(ctx context.Context, id string) (directory.ClientRecord, error) {
	var unknown directory.ClientRecord
	if directory.IsDocumentID(id) {
		return svc.documentClient(ctx, id)
	}
	if !wellFormedID(id) {
		return unknown, nil
	}
	client, err := svc.clients.Read(ctx, svc.cfg.Store, id)
	switch {
	case err != nil || client.Removed:
		return unknown, err
	case client.Registration == nil:
		return client, nil
	case client.Expired(svc.cfg.Clock.Now()): // the store may remove the record later
		return unknown, nil
	}
	return clientmetadata.Apply(client, svc.cfg.RegistrationPolicy), nil
}

// documentClient is client for the URL of a metadata document. The store has at most the client's epoch, which is read before the
// document: a revocation in the meantime ends what is made under the earlier epoch.
func (svc *Service) documentClient(ctx context.Context, id string) (directory.ClientRecord, error) {
	var unknown directory.ClientRecord
	if svc.cfg.Documents == nil {
		return unknown, nil
	}
	if flaw := directory.DocumentIDFlaw(id, svc.cfg.InsecureLoopback); flaw != "" {
		return unknown, refuseDocument("its URL "+flaw, nil)
	}
	stored, err := svc.clients.Read(ctx, svc.cfg.Store, id)
	if err != nil || stored.Removed {
		return unknown, err
	}
	body, err := svc.cfg.Documents.Document(ctx, id)
	switch {
	case errors.Is(err, broker.ErrClientDocument):
		return unknown, refuseDocument(reasonOf(err), err)
	case errors.Is(err, broker.ErrUpstreamUnavailable):
		return unknown, &broker.Error{
			Code: broker.CodeUpstreamUnavailable, Message: "The client's metadata document cannot be read at the moment; try again.",
			RetryAfter: 5 * time.Second, Err: errors.Join(broker.ErrClientDocument, err),
		}
	case err != nil:
		return unknown, err
	}
	client, err := svc.documents.read(id, body, svc.cfg.DocumentPolicy)
	if err != nil {
		return unknown, refuseDocument(reasonOf(err), err)
	}
	client.CreatedAt, client.Epoch = stored.CreatedAt, stored.Epoch
	return client, nil
}

// refuseDocument returns the refusal of a client whose metadata document cannot be used. reason is for the client's developer.
func refuseDocument(reason string, cause error) error {
	return &broker.Error{Code: broker.CodeInvalidClient, Message: wrongCredentials, Err: errors.Join(&refused{reason}, broker.ErrClientDocument, cause)}
}

// unusableDocument returns the refusal for a page of a client whose metadata document cannot be used.
func unusableDocument(cause *refused) *broker.Error {
	return &broker.Error{
		Code: broker.CodeInvalidRedirect, Err: broker.ErrClientDocument,
		Message: "The client's metadata document cannot be used: " + strings.TrimSuffix(cause.why, ".") + ".",
	}
}

// reasonOf returns why a document was refused.
func reasonOf(err error) string {
	var app *broker.Error
	if errors.As(err, &app) {
		return app.Message
	}
	return strings.TrimPrefix(err.Error(), broker.ErrClientDocument.Error()+": ")
}

// CheckDocument returns an error unless the body of a Client ID Metadata Document is that of a usable client with that id. The error is
// a [*broker.Error].
func CheckDocument(id string, body []byte, policy broker.ClientPolicy) error {
	_, err := readDocument(id, body, policy)
	return err
}

// readDocument returns the record of the client that a document describes.
func readDocument(id string, body []byte, policy broker.ClientPolicy) (directory.ClientRecord, error) {
	metadata, err := clientmetadata.Read(body)
	if err != nil {
		return directory.ClientRecord{}, err
	}
	client, err := metadata.Client(id, broker.ClassDocument, policy)
	if err != nil {
		return directory.ClientRecord{}, err
	}
	record := clientmetadata.Apply(directory.NewClientRecord(client), policy)
	record.Dynamic, record.Document = true, true
	return record, nil
}

// cachedDocuments bounds the documents whose records are kept.
const cachedDocuments = 1024

// documentCache keeps the records that were made of documents, because each request of a client needs its record. It is safe for
// concurrent use.
type documentCache struct {
	decoded *lru.Cache[string, decodedDocument] // by URL
}

type decodedDocument struct {
	body   json.RawMessage
	client directory.ClientRecord
}

func newDocumentCache() *documentCache {
	decoded, err := lru.New[string, decodedDocument](cachedDocuments)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &documentCache{decoded: decoded}
}

// read is readDocument for the one policy of the cache's service.
func (c *documentCache) read(id string, body json.RawMessage, policy broker.ClientPolicy) (directory.ClientRecord, error) {
	if known, ok := c.decoded.Get(id); ok && bytes.Equal(known.body, body) {
		return known.client, nil
	}
	client, err := readDocument(id, body, policy)
	if err == nil {
		c.decoded.Add(id, decodedDocument{body: body, client: client})
	}
	return client, err
}

// wellFormedID reports whether id can be the id of a client. Only such an id is looked up and logged.
func wellFormedID(id string) bool {
	if directory.IsDocumentID(id) {
		return directory.DocumentIDFlaw(id, true) == ""
	}
	return id != "" && len(id) <= maxClientID && strings.IndexFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	}) < 0
}

// displayName returns the client's name for pages. The name of a client that describes itself is a claim: one that may be taken for
// another client's is not shown.
func (svc *Service) displayName(ctx context.Context, client directory.ClientRecord) string {
	name := client.Name
	if name != "" && client.Class() != broker.ClassKnown {
		if imitates, err := svc.index.Imitates(ctx, name); imitates || err != nil {
			name = ""
		}
	}
	if name == "" && client.Class() == broker.ClassDocument {
		return documentHost(client.ID)
	}
	return cmp.Or(name, client.ID)
}

// documentHost returns the host of a document's URL, with its port.
func documentHost(id string) string {
	if u, err := url.Parse(id); err == nil {
		return u.Host
	}
	return id
}
