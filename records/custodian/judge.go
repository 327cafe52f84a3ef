package custodian

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/threshold"
)

// MaxSkew is how far the log's clock and a custodian's own may be apart.
const MaxSkew = 30 * time.Second

// judge decides one release, from the entry on this custodian's own copy of the
// log. It returns the reason of a refusal, or what is granted.
func (c *Custodian) judge(ctx context.Context, r *records.Release, now time.Time) (*granted, string) {
	q, err := records.DecodeRequest(r.Request)
	if err != nil {
		return nil, records.RefusedBad
	}
	body, refusal := c.entry(ctx, r.Index)
	if refusal != "" {
		return nil, refusal
	}
	if !shows(q.Action) {
		return nil, records.RefusedBad
	}
	hash := records.RequestHash(r.Request)
	if subtle.ConstantTimeCompare(body.Request, hash[:]) != 1 || !permits(body, q) {
		return nil, records.RefusedUnknown
	}
	if refusal := c.timely(body, q, now); refusal != "" {
		return nil, refusal
	}
	subject, ok := c.state.Session(q.SignIn)
	if !ok || !inSession(subject, body, now) {
		return nil, string(policy.NoSession)
	}
	g := &granted{index: r.Index, reader: q.Reader, request: hash}
	attributes, refusal := c.items(r, q, body, g)
	if refusal != "" {
		return nil, refusal
	}
	request := policy.Request{Subject: subject, Action: q.Action, Purpose: q.Purpose, Scopes: q.Scopes, Context: q.Context}
	decisions := c.engine.DecideAll(ctx, c.state, request, attributes, body.At())
	for _, d := range decisions {
		switch {
		case !d.Permit:
			return nil, string(d.Reason)
		case !d.Expires.IsZero() && !now.Before(d.Expires):
			// Permitted when it was logged, and over by this custodian's clock.
			return nil, string(policy.Expired)
		}
	}
	if !c.truthful(body, r.Index, q, subject, decisions) {
		return nil, records.RefusedBad
	}
	return g, ""
}

// truthful says whether the entry tells those who read the log later what
// happened: who asked, as what, through which client and session, with what
// purpose, scopes and launch context, by which rules, and why that was permitted.
// Who may be shown a record may not be shown it under a false account.
func (c *Custodian) truthful(body *chain.Body, index uint64, q *records.Request, s policy.Subject, decisions []policy.Decision) bool {
	rules := c.engine.Digest()
	return body.Actor == s.ID && body.Client == s.Client && body.Session == s.Session && asOneOf(s.Roles, body.Role) &&
		body.Action == q.Action && body.Purpose == q.Purpose && slices.Equal(body.Scopes, q.Scopes) && body.Context == q.Context &&
		bytes.Equal(body.Policy, rules[:]) && body.Reason == string(decisions[0].Reason) &&
		lo.EveryBy(body.Grants, func(id string) bool { return c.restsOn(body, index, id, decisions) })
}

// asOneOf says whether an entry's role, which may be several with a space
// between, names none but those of the subject; and one, if the subject has any.
func asOneOf(roles []string, stated string) bool {
	named := strings.Fields(stated)
	return strings.Join(named, " ") == stated && (len(named) > 0) == (len(roles) > 0) && lo.Every(roles, named)
}

// restsOn says whether a grant that the entry names is one that a decision
// rests on, or was running when the entry was made: where several permit the
// same, the gateway's state and this one's, which is newer, may each pick another.
func (c *Custodian) restsOn(body *chain.Body, index uint64, id string, decisions []policy.Decision) bool {
	g, ok := c.state.GrantByID(id)
	if !ok || g.Index >= index || g.Grant.Patient != "" && g.Grant.Patient != body.Patient {
		return false
	}
	if lo.SomeBy(decisions, func(d policy.Decision) bool { return slices.Contains(d.Grants, id) }) {
		return true
	}
	if g.Withdrawn.UnixMilli() > body.Time { // afterwards
		g.Withdrawn = time.Time{}
	}
	return g.At(body.At()) == policy.StatusActive
}

// entry finds the entry that is to permit the release.
func (c *Custodian) entry(ctx context.Context, index uint64) (*chain.Body, string) {
	if index >= c.replica.Size() {
		return nil, records.RefusedBehind
	}
	body, err := c.replica.Body(ctx, index)
	switch {
	case errors.Is(err, chain.ErrBeyond):
		return nil, records.RefusedBehind
	case err != nil: // erased, most likely
		return nil, records.RefusedUnknown
	}
	return body, ""
}

// permits says whether the entry is a permit for what the request says it is.
func permits(body *chain.Body, q *records.Request) bool {
	return body.Kind == chain.Access && body.Decision == "permit" &&
		body.SignIn == q.SignIn && body.Action == q.Action && body.Purpose == q.Purpose
}

// shows says whether an action is one that shows records. The rules permit
// others too, and none of those is a reason to open anything: who may write a
// record, or delete it, has not been told what is in it.
func shows(action string) bool {
	switch action {
	case policy.Read, policy.Search, policy.History, policy.Lookup:
		return true
	}
	return false
}

// timely holds entry, request and own clock against each other. Its own clock
// must neither be far from the log's nor have gone back: an ended grant would
// live again.
func (c *Custodian) timely(body *chain.Body, q *records.Request, now time.Time) string {
	switch {
	case q.NotAfter > body.Time+records.MaxLifetime.Milliseconds():
		return records.RefusedBad
	case now.UnixMilli() > q.NotAfter:
		return records.RefusedLate
	case now.Sub(body.At()).Abs() > MaxSkew:
		return records.RefusedClock
	case time.UnixMilli(c.newest.Load()).Sub(now) > MaxSkew:
		return records.RefusedClock
	}
	return ""
}

// inSession says whether the entry was made in the session that its request
// cites, and that session still runs by both clocks.
func inSession(s policy.Subject, body *chain.Body, now time.Time) bool {
	return s.ID == body.Actor && (body.Session == "" || body.Session == s.Session) && (body.Client == "" || body.Client == s.Client) &&
		body.Time < s.End && now.UnixMilli() < s.End
}

// items holds every item against the entry and the request, and opens the
// attributes to decide on.
func (c *Custodian) items(r *records.Release, q *records.Request, body *chain.Body, g *granted) ([]policy.Resource, string) {
	if len(r.Items) != len(q.Labels) || len(r.Items) != len(body.Resources) {
		return nil, records.RefusedBad
	}
	tree := records.CommitteeTree(c.committee.K).Hash()
	attributes := make([]policy.Resource, len(r.Items))
	for i := range r.Items {
		item := &r.Items[i]
		label, err := records.DecodeLabel(item.Label)
		if err != nil {
			return nil, records.RefusedBad
		}
		leaf, err := records.DecodeLeaf(item.Leaf)
		if err != nil || leaf.Committee != c.committee.ID {
			return nil, records.RefusedBad
		}
		hash, digest := records.LabelHash(item.Label), item.Digest(leaf)
		logged := body.Resources[i]
		switch {
		case !bytes.Equal(hash[:], q.Labels[i]):
			return nil, records.RefusedBad
		case logged.Type != label.Type || logged.ID != label.ID || logged.Revision != label.Revision:
			return nil, records.RefusedBad
		case !bytes.Equal(logged.Digest, digest[:]):
			return nil, records.RefusedBad
		case label.Tenant != c.tenant || label.Compartment != body.Patient || label.Tree != tree:
			return nil, records.RefusedBad
		case label.Attributes != item.AttributesHash():
			return nil, records.RefusedBad
		}
		a, err := c.attributes.Open(item.Attributes, label.Type, label.ID, label.Revision)
		if err != nil || a.Patient != label.Compartment {
			return nil, records.RefusedBad
		}
		attributes[i] = a
		g.ciphertexts = append(g.ciphertexts, threshold.Ciphertext(leaf.Ciphertext))
		g.labels = append(g.labels, item.LeafLabel(leaf))
	}
	return attributes, ""
}
