package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The layers a statement belongs to; those of legal and org only deny. How they
// rank is rego/decide.rego.
const (
	LayerLegal   = "legal"
	LayerOrg     = "org"
	LayerConsent = "consent"
	LayerGrant   = "grant"
)

// The effects of a statement.
const (
	EffectPermit = "permit"
	EffectDeny   = "deny"
)

// Grant is one provision that permits or denies: AND across its fields, OR
// within one. A list that is absent means any; a list that is present and empty
// is refused, for it would mean any once encoded. JSON and CBOR carry the same
// names, so that whoever has the JSON can compute what was signed.
type Grant struct {
	V           int          `json:"v"`                     // 1
	ID          string       `json:"id"`                    // "g-…"
	Src         *Source      `json:"src,omitempty"`         // what it was made from, if anything
	Patient     string       `json:"patient,omitempty"`     // "Patient/p1"; absent (everybody) for legal and org statements only
	Layer       string       `json:"layer"`                 // legal and org, which only deny; consent, grant
	Effect      string       `json:"effect"`                // permit, deny
	Path        []int        `json:"path,omitempty"`        // place in the Consent it came from
	Parent      string       `json:"parent,omitempty"`      // the statement it was delegated from
	Status      string       `json:"status"`                // active; a suspended or withdrawn statement is not signed
	Time        Time         `json:"time"`                  // when it holds
	Treatment   *Treatment   `json:"treatment,omitempty"`   // after it, its doctor alone
	Hard        bool         `json:"hard,omitempty"`        // a deny that break-glass does not override
	Replaces    []string     `json:"replaces,omitempty"`    // ids that this statement removes
	DataTime    *Span        `json:"data_time,omitempty"`   // clinical time of the records meant
	Actors      []Actor      `json:"actors,omitempty"`      // who
	Actions     []string     `json:"actions,omitempty"`     // read, search, history, …
	Purposes    []string     `json:"purposes,omitempty"`    // v3-ActReason
	Labels      *Labels      `json:"labels,omitempty"`      // how sensitive
	Classes     []string     `json:"classes,omitempty"`     // resource types
	Categories  []string     `json:"categories,omitempty"`  // a record's category
	Codes       []string     `json:"codes,omitempty"`       // a record's code
	Data        []Data       `json:"data,omitempty"`        // particular records
	Approvals   *Approval    `json:"approvals,omitempty"`   // who else must sign
	Obligations *Obligations `json:"obligations,omitempty"` // what a permit demands of its user
	Policy      string       `json:"policy,omitempty"`      // "sha256:…", the rules it was written under
}

// Source is the document a statement was made from.
type Source struct {
	Ref    string `json:"ref"`    // "Consent/1/_history/3"
	SHA256 string `json:"sha256"` // hex
}

// Time is when a statement holds: nbf ≤ now < exp. The zone and its offsets are
// those of the patient when signing; the sentence shows them, and needs no
// time-zone database to be derived again.
type Time struct {
	Nbf       int64  `json:"nbf,omitempty"`        // Unix ms; 0: since ever
	Exp       int64  `json:"exp,omitempty"`        // Unix ms; 0: no end
	Zone      string `json:"zone,omitempty"`       // "Asia/Shanghai"; "" is UTC
	NbfOffset int    `json:"nbf_offset,omitempty"` // minutes east of UTC at nbf
	ExpOffset int    `json:"exp_offset,omitempty"` // minutes east of UTC at exp
}

// Span is an interval of clinical time.
type Span struct {
	From       int64 `json:"from,omitempty"` // Unix ms; 0: since ever
	To         int64 `json:"to,omitempty"`   // Unix ms, exclusive; 0: open
	FromOffset int   `json:"from_offset,omitempty"`
	ToOffset   int   `json:"to_offset,omitempty"`
}

// Treatment names the treatment a permit is for. From its end on, until the
// statement's end, only its doctor may use the permit.
type Treatment struct {
	Until  int64  `json:"until"`            // Unix ms
	Offset int    `json:"offset,omitempty"` // minutes east of UTC
	Doctor string `json:"doctor"`           // "Practitioner/7"
}

// Actor is a person or client, everybody in a role, or (both given) a person
// when acting in that role.
type Actor struct {
	Role string `json:"role,omitempty"` // "system|code"
	Ref  string `json:"ref,omitempty"`  // "Practitioner/7"
}

// Labels say how sensitive the records meant may be (permit) or must be (deny).
type Labels struct {
	Any     []string `json:"any,omitempty"`      // records that bear one of these sensitivities
	Cover   []string `json:"cover,omitempty"`    // permits: no sensitivity but these; absent, and no any: whatever the ceiling lets pass
	MaxConf string   `json:"max_conf,omitempty"` // permits: the ceiling; N if absent
	MinConf string   `json:"min_conf,omitempty"` // denies: the floor
}

// Data names particular records, as FHIR's Consent.provision.data does.
type Data struct {
	Meaning string `json:"meaning"` // instance, related, authoredby
	Ref     string `json:"ref"`     // "Encounter/9"
}

// Approval is a rule on who else must sign before a permit may be used. Until
// approvals are decided here, such a permit does not permit.
type Approval struct {
	Rule     string   `json:"rule"`
	Eligible []string `json:"eligible,omitempty"`
}

// Statement is what a signature is over: the grant and the words shown.
type Statement struct {
	Grant    Grant    `json:"grant"`
	Sentence Sentence `json:"sentence"`
}

// Statement returns what is signed for the grant.
func (g Grant) Statement() Statement { return Statement{Grant: g, Sentence: g.Sentence()} }

// Encode returns the deterministic CBOR of the statement: that of its JSON
// document with every number an integer.
func (s Statement) Encode() []byte { return marshal(s) }

// Digest is SHA-256 of [Statement.Encode].
func (s Statement) Digest() [32]byte { return sha256.Sum256(s.Encode()) }

// Digest is the digest of the grant's statement, what its signature and its
// withdrawal's are over.
func (g Grant) Digest() [32]byte { return g.Statement().Digest() }

// plain has the fields of Grant without its methods.
type plain Grant

// UnmarshalJSON decodes a grant and refuses unknown fields, repeated keys,
// nulls, explicit zeros and empty lists: a statement has one spelling, so that
// nothing is lost, or widened to "any", on the way to what is signed.
func (g *Grant) UnmarshalJSON(data []byte) error {
	var p plain
	if err := decodeOnce(data, &p); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	*g = Grant(p)
	return nil
}

// Limits of a statement's lists and strings. A statement beyond them is no
// statement a person can have read.
const (
	maxList   = 128
	maxString = 512
)

var grantID = regexp.MustCompile(`^g-[A-Za-z0-9_-]{8,64}$`)

// Validate reports what makes the grant no statement at all. Codes that are not
// understood are another matter: they are kept, permit nothing, and deny.
func (g Grant) Validate() error {
	switch {
	case g.V != 1:
		return fmt.Errorf("version %d, not 1", g.V)
	case !grantID.MatchString(g.ID):
		return fmt.Errorf("id %q: want g- and 8 to 64 of A-Z a-z 0-9 _ -", clip(g.ID))
	case !slices.Contains([]string{LayerLegal, LayerOrg, LayerConsent, LayerGrant}, clip(g.Layer)):
		return fmt.Errorf("layer %q", clip(g.Layer))
	case g.Effect != EffectPermit && g.Effect != EffectDeny:
		return fmt.Errorf("effect %q", clip(g.Effect))
	case g.Effect == EffectPermit && signerKinds(g.Layer) != nil:
		return errors.New("a statement of law or of the organisation can only deny: one registered key must not open every record")
	case g.Status != "active":
		return fmt.Errorf("status %q, not active", clip(g.Status))
	case g.Patient == "" && (g.Layer == LayerConsent || g.Layer == LayerGrant):
		return errors.New("no patient")
	case g.Patient != "" && !isRef(g.Patient, "Patient"):
		return fmt.Errorf("patient %q", clip(g.Patient))
	case g.Parent != "" || g.Path != nil:
		return errors.New("delegated and nested statements are not accepted")
	}
	if g.Effect == EffectPermit {
		if err := g.validatePermit(); err != nil {
			return err
		}
	}
	if err := g.validateShape(); err != nil {
		return err
	}
	if n := len(marshal(SignedGrant{Grant: g, Signature: make([]byte, 64), Signer: g.Layer})); n > maxWords {
		return fmt.Errorf("a statement of %d bytes, at most %d", n, maxWords)
	}
	return nil
}

// validatePermit holds what a permit must say: a grant ends and names somebody;
// writing never rests on a permit.
func (g Grant) validatePermit() error {
	if g.Layer == LayerGrant && g.Time.Exp == 0 {
		return errors.New("a grant must end")
	}
	if g.Layer != LayerConsent && g.Actors == nil {
		return errors.New("a permit must name its actors")
	}
	if g.Time.Exp != 0 && g.Time.Exp <= g.Time.Nbf {
		return errors.New("it ends before it starts")
	}
	for _, a := range g.Actions {
		if a != Read && a != Search && a != History {
			return fmt.Errorf("action %q: a permit is for read, search and history", clip(a))
		}
	}
	return nil
}

// validateShape holds limits and the shapes of references and offsets.
func (g Grant) validateShape() error {
	lists := map[string][]string{
		"replaces": g.Replaces, "actions": g.Actions, "purposes": g.Purposes,
		"classes": g.Classes, "categories": g.Categories, "codes": g.Codes,
	}
	if g.Labels != nil {
		lists["labels.any"], lists["labels.cover"] = g.Labels.Any, g.Labels.Cover
		lists["labels"] = []string{g.Labels.MaxConf + g.Labels.MinConf + "-"}
		if g.Effect == EffectDeny && (g.Labels.MaxConf != "" || g.Labels.Cover != nil) {
			return errors.New("a deny has no ceiling")
		}
		if g.Effect == EffectPermit && g.Labels.MinConf != "" {
			return errors.New("a permit has no floor")
		}
	}
	if g.Obligations != nil {
		lists["obligations.redact"] = g.Obligations.Redact
	}
	if g.Approvals != nil {
		lists["approvals.eligible"] = g.Approvals.Eligible
		lists["approvals"] = []string{g.Approvals.Rule}
	}
	lists["text"] = []string{"-" + g.Time.Zone, "-" + g.Policy, "-" + g.Patient}
	for _, a := range g.Actors {
		if a == (Actor{}) {
			return errors.New("an actor that is nobody")
		}
		lists["actors"] = append(lists["actors"], "-"+a.Role, "-"+a.Ref)
	}
	for _, d := range g.Data {
		lists["data"] = append(lists["data"], d.Meaning, d.Ref)
	}
	if g.Src != nil {
		lists["src"] = []string{g.Src.Ref, g.Src.SHA256}
	}
	if g.Treatment != nil {
		if !isRef(g.Treatment.Doctor, "Practitioner") || g.Treatment.Until == 0 {
			return errors.New("a treatment needs an end and its doctor, a Practitioner")
		}
	}
	for name, list := range lists {
		if err := validList(name, list); err != nil {
			return err
		}
	}
	if (g.Actors != nil && len(g.Actors) == 0) || (g.Data != nil && len(g.Data) == 0) {
		return errors.New("an empty list: leave out what is not stated")
	}
	for _, m := range g.offsets() {
		if m < -14*60 || m > 14*60 {
			return fmt.Errorf("an offset of %d minutes from UTC", m)
		}
	}
	for _, t := range g.times() {
		if t < minTime || t > maxTime {
			return fmt.Errorf("time %d is outside the years 1 to 9999", t)
		}
	}
	return nil
}

func (g Grant) offsets() []int {
	all := []int{g.Time.NbfOffset, g.Time.ExpOffset}
	if g.DataTime != nil {
		all = append(all, g.DataTime.FromOffset, g.DataTime.ToOffset)
	}
	if g.Treatment != nil {
		all = append(all, g.Treatment.Offset)
	}
	return all
}

func (g Grant) times() []int64 {
	all := []int64{g.Time.Nbf, g.Time.Exp}
	if g.DataTime != nil {
		all = append(all, g.DataTime.From, g.DataTime.To)
	}
	if g.Treatment != nil {
		all = append(all, g.Treatment.Until)
	}
	return all
}

// minTime and maxTime bound what a statement may name, in Unix ms: beyond them
// a date has no RFC 3339 form to show.
const (
	minTime = -62135596800000
	maxTime = 253402300799999
)

func validList(name string, list []string) error {
	if list != nil && len(list) == 0 {
		return fmt.Errorf("%s: an empty list; leave out what is not stated", name)
	}
	if len(list) > 2*maxList {
		return fmt.Errorf("%s: %d elements", name, len(list))
	}
	for _, s := range list {
		if s == "" || len(s) > maxString || strings.ContainsFunc(s, control) {
			return fmt.Errorf("%s: %q", name, clip(s))
		}
	}
	return nil
}

// control tells runes that could hide or reorder what a patient reads, or end a
// quotation in it.
func control(r rune) bool {
	return r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) ||
		strings.ContainsRune("\"“”「」", r) || (r >= 0x200b && r <= 0x200f) || (r >= 0x2028 && r <= 0x202e) || (r >= 0x2060 && r <= 0x206f) || r == 0xfeff
}

// signed is what is signed: a domain tag, then the digest.
func signed(domain string, digest [32]byte) []byte {
	return append([]byte(domain), digest[:]...)
}

// GrantMessage is the message whose Ed25519 signature makes a grant.
func GrantMessage(digest [32]byte) []byte { return signed("wardkey-grant-v1\x00", digest) }

// WithdrawMessage is the message whose signature withdraws the grant of that digest.
func WithdrawMessage(digest [32]byte) []byte { return signed("wardkey-withdraw-v1\x00", digest) }

// RelationMessage is the message whose signatures make a relation.
func RelationMessage(digest [32]byte) []byte { return signed("wardkey-relation-v1\x00", digest) }

// EnrolMessage is the message that the key being replaced signs.
func EnrolMessage(digest [32]byte) []byte { return signed("wardkey-enrol-v1\x00", digest) }

// SignInMessage is the message that the enrolled key of somebody who signs in
// signs; nonce is that of the session, as [SessionNonce] returns it.
func SignInMessage(nonce string) []byte { return append([]byte("wardkey-signin-v1\x00"), nonce...) }

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
