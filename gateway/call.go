package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/policy"
)

// The interactions of FHIR R4 §3.1.0 that are served, by the names that the
// CapabilityStatement uses.
const (
	interactionRead    = "read"
	interactionVRead   = "vread"
	interactionHistory = "history-instance"
	interactionSearch  = "search-type"
	interactionCreate  = "create"
	interactionUpdate  = "update"
	interactionDelete  = "delete"

	interactionHistorySystem = "history-system"
)

// A call is one request on its way through: who asks, why, for what, and which
// entries of the log it has left so far. It belongs to one goroutine, but for
// the entries.
type call struct {
	session     *smart.Session
	purpose     string // short code, one that the session allows
	correlation string // joins its entries; also X-Request-Id
	now         time.Time

	interaction string
	typ, id     string // "" where the interaction has none
	revision    string // of a vread, as it stands in the path

	query  url.Values // of the URL and, for POST _search, of the form
	header http.Header
	body   []byte
	before string // of a write: the store's version that it replaces; "" for none

	patient string // of a call of /api: whom its statement is about; "" for nobody known yet

	mu      sync.Mutex // guards entries and reason
	entries []uint64
	reason  policy.Reason // the last denial's, for the operator
}

// newID is 128 random bits in hexadecimal: request ids and correlations.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newUUID is a resource id that the gateway allocates: a random UUID (RFC 9562
// §5.4), which says nothing of whom or when.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// logged notes entries that the call has left in the log.
func (k *call) logged(receipts []chain.Receipt) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range receipts {
		k.entries = append(k.entries, r.Index)
	}
}

// entryHeader is the value of Wardkey-Entry.
func (k *call) entryHeader() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	text := make([]string, len(k.entries))
	for i, index := range k.entries {
		text[i] = strconv.FormatUint(index, 10)
	}
	return strings.Join(text, ",")
}

// request is what policy is asked about one resource.
func (k *call) request(action string, resource policy.Resource) policy.Request {
	return policy.Request{
		Subject: k.session.Subject, Action: action, Purpose: k.purpose, Scopes: k.session.Scope, Resource: resource,
	}
}

// action is the interaction in policy's words.
func (k *call) action() string {
	switch k.interaction {
	case interactionHistory:
		return policy.History
	case interactionSearch:
		return policy.Search
	case interactionCreate:
		return policy.Create
	case interactionUpdate:
		return policy.Update
	case interactionDelete:
		return policy.Delete
	case interactionRead, interactionVRead:
		return policy.Read
	default:
		return k.interaction
	}
}

// scopeLetter is the interaction in SMART's words (scopes v2: cruds). History
// and vread are reads.
func (k *call) scopeLetter() byte {
	switch k.interaction {
	case interactionSearch:
		return 's'
	case interactionCreate:
		return 'c'
	case interactionUpdate:
		return 'u'
	case interactionDelete:
		return 'd'
	default:
		return 'r'
	}
}

// entry begins an entry of the log for this call: who asks and with what, as the
// session has it. There is no launch context here to name: none is given out.
func (k *call) entry(kind chain.Kind) chain.Entry {
	sub := k.session.Subject
	return chain.Entry{
		Kind: kind, Actor: sub.ID, Role: strings.Join(sub.Roles, " "), SignIn: sub.SignIn,
		Action: k.action(), Purpose: k.purpose, Correlation: k.correlation, Client: sub.Client, Session: sub.Session,
		Scopes: k.session.Scope,
	}
}

// bearer takes the access token out of the Authorization header. It is the only
// place a token may be (RFC 6750 §2.2 and §2.3 are how tokens get into logs).
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", smart.ErrToken
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", smart.ErrToken
	}
	return token, nil
}

// authenticate returns the session of the request.
func (g *Gateway) authenticate(r *http.Request) (*smart.Session, error) {
	token, err := bearer(r.Header)
	if err != nil {
		return nil, err
	}
	return g.c.Sessions.Token(token)
}

// purposeOf is the purpose the request states, if the session allows it, or
// else the session's default. There is no default beyond that: who states no
// purpose and has none fixed gets nothing.
func purposeOf(s *smart.Session, h http.Header) (string, error) {
	stated, err := one(h, "Wardkey-Purpose")
	if err != nil {
		return "", err
	}
	if stated == "" {
		stated = s.Default
	}
	if stated == "" || !slices.Contains(s.Purposes, stated) {
		return "", refuse(purposeMissing, nil)
	}
	return stated, nil
}

// begin makes the call of a FHIR request: session, purpose, scope, in this
// order, and nothing looked up before they are settled. A request refused for
// its purpose or scope leaves a denial in the log.
func (g *Gateway) begin(ctx context.Context, c echo.Context, interaction string) (*call, error) {
	r := c.Request()
	k := &call{
		interaction: interaction, typ: c.Param("type"), id: c.Param("id"), revision: c.Param("revision"),
		correlation: requestID(c), now: g.now(), header: r.Header,
	}
	session, err := g.authenticate(r)
	if err != nil {
		return k, err
	}
	k.session = session
	if k.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return k, err
	}
	if !acceptable(r.Header, k.query) {
		return k, refuse(badAccept, nil)
	}
	delete(k.query, "_format")
	if k.purpose, err = purposeOf(session, r.Header); err != nil {
		return k, g.refuseEarly(ctx, k, policy.Purpose, err)
	}
	if len(session.Scope) == 0 || k.typ != "" && !inScope(session, k.typ, k.scopeLetter()) {
		return k, g.refuseEarly(ctx, k, policy.Scope, refuse(scopeMissing, nil))
	}
	if k.id != "" && !fhir.ValidID(k.id) {
		return k, badRequest("not an id")
	}
	return k, nil
}

// inScope tells whether the session's scopes allow the interaction on the type
// at all: system scopes for systems, user scopes for people, and patient scopes
// for patients, whose own context they are in.
func inScope(s *smart.Session, typ string, letter byte) bool {
	switch subject, _, _ := strings.Cut(s.Subject.ID, "/"); subject {
	case "Client":
		return s.Scopes.Allows(typ, letter, policy.ScopeSystem)
	case "Patient":
		return s.Scopes.Allows(typ, letter, policy.ScopePatient) || s.Scopes.Allows(typ, letter, policy.ScopeUser)
	default:
		return s.Scopes.Allows(typ, letter, policy.ScopeUser)
	}
}

// refuseEarly logs a denial that concerns no record yet, and returns the answer.
func (g *Gateway) refuseEarly(ctx context.Context, k *call, reason policy.Reason, answer error) error {
	e := k.entry(chain.Deny)
	e.Decision, e.Reason = decisionDeny, string(reason)
	if fhir.KnownType(k.typ) {
		e.Resources = []chain.Resource{{Type: k.typ, ID: validOrNone(k.id)}}
	}
	k.reason = reason
	if err := g.append(ctx, k, e); err != nil {
		return err
	}
	return answer
}

func validOrNone(id string) string {
	if !fhir.ValidID(id) {
		return ""
	}
	return id
}

// readBody takes the request's body, within the limit. A body where none
// belongs is refused: somebody along the way may have read it as part of the
// question.
func (g *Gateway) readBody(c echo.Context, wanted content) ([]byte, error) {
	r := c.Request()
	if wanted == noBody {
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			return nil, badRequest("a body where none belongs")
		}
		return nil, nil
	}
	contentType, err := one(r.Header, "Content-Type")
	if err != nil {
		return nil, err
	}
	if !wanted.is(contentType) || r.Header.Get("Content-Encoding") != "" {
		return nil, refuse(badMedia, nil)
	}
	return readLimited(c, g.c.Limits.Body)
}
