package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strconv"
	"time"
)

// paramPage is where a page's cursor travels.
const paramPage = "_page"

// cursorLife is how long a page may be turned.
const cursorLife = time.Hour

// A position is where a page begins: behind this record in the order of the
// answer, or below this revision.
type position struct {
	Sort     int64  `json:"s,omitempty"` // clinical time of the last record, Unix ms
	Type     string `json:"t,omitempty"`
	ID       string `json:"i,omitempty"`
	Revision uint64 `json:"r,omitempty"`
	Upstream string `json:"u,omitempty"` // page link of the store, for types that are observed
	Ends     int64  `json:"e"`           // Unix ms
}

// cursors seal positions: a record that sorts last on a page may be one that the
// residual filter dropped, so its id is nobody's to read, and a page belongs to
// the caller, the purpose, the policy and the query that it was made for.
type cursors struct{ aead cipher.AEAD }

// newCursors draws a key. Cursors end with the process.
func newCursors() *cursors {
	var key [32]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("gateway: cursor key: " + err.Error()) // 32 bytes are a key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("gateway: cursor cipher: " + err.Error())
	}
	return &cursors{aead}
}

// bound is what a cursor is good for, and nothing else.
func bound(k *call, policy [32]byte) []byte {
	query := maps.Clone(k.query)
	delete(query, paramPage)
	h := sha256.New()
	for _, part := range []string{
		"wardkey-page-v1", k.session.Subject.ID, k.session.Subject.Client, k.purpose, string(policy[:]), k.interaction, k.typ, k.id, query.Encode(),
	} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return h.Sum(nil)
}

// seal makes the opaque form of a position.
func (cs *cursors) seal(k *call, policy [32]byte, p position) (string, error) {
	p.Ends = k.now.Add(cursorLife).UnixMilli()
	plain, err := json.Marshal(p)
	if err != nil {
		return "", refuse(internal, err)
	}
	return base64.RawURLEncoding.EncodeToString(cs.aead.Seal(nil, nil, plain, bound(k, policy))), nil
}

// open reads the call's cursor; nil without one. A cursor of somebody else, of
// another query or of yesterday is refused alike.
func (cs *cursors) open(k *call, policy [32]byte) (*position, error) {
	text, stated := k.query[paramPage]
	if !stated {
		return nil, nil
	}
	if len(text) != 1 || len(text[0]) > 8192 {
		return nil, refuse(stalePage, nil)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text[0])
	if err != nil {
		return nil, refuse(stalePage, err)
	}
	plain, err := cs.aead.Open(nil, nil, sealed, bound(k, policy))
	if err != nil {
		return nil, refuse(stalePage, err)
	}
	var p position
	if err := json.Unmarshal(plain, &p); err != nil || k.now.UnixMilli() >= p.Ends {
		return nil, refuse(stalePage, err)
	}
	return &p, nil
}

// link is an address of ours. It begins with the configured base, whatever host
// the request was sent to.
func (g *Gateway) link(path string, query url.Values) string {
	s := g.c.Base + "/" + path
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}

// nextLink is the address of the page that begins at p.
func (g *Gateway) nextLink(k *call, path string, p position) (string, error) {
	cursor, err := g.cursors.seal(k, g.c.Engine.Digest(), p)
	if err != nil {
		return "", err
	}
	query := maps.Clone(k.query)
	if query == nil {
		query = url.Values{}
	}
	query.Set(paramPage, cursor)
	return g.link(path, query), nil
}

// page is the position the call asks for; nil for the first page.
func (g *Gateway) page(k *call) (*position, error) { return g.cursors.open(k, g.c.Engine.Digest()) }

// count reads _count: at least one, at most a page. More is clamped, as the
// CapabilityStatement says; none or nonsense is refused.
func (g *Gateway) count(query url.Values) (int, error) {
	stated, ok := query["_count"]
	if !ok {
		return g.c.Limits.Page, nil
	}
	if len(stated) != 1 {
		return 0, refuseFor(badValue, "_count")
	}
	n, err := strconv.Atoi(stated[0])
	if err != nil || n < 1 {
		return 0, refuseFor(badValue, "_count")
	}
	return min(n, g.c.Limits.PageMax), nil
}
