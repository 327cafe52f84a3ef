package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

// create answers POST: the id is ours, whatever the body says of one.
func (g *Gateway) create(ctx context.Context, k *call) (answer, error) {
	r, err := g.incoming(k)
	if err != nil {
		return answer{}, err
	}
	k.id = newUUID()
	if r, err = r.WithID(k.id); err != nil {
		return answer{}, err
	}
	return g.store(ctx, k, r, nil)
}

// update answers PUT. What is there is decided on as well as what is to be
// there: otherwise a record could be taken over, or pushed onto somebody, by
// changing whose it is. Only registered loaders choose ids; for everybody else
// a PUT to nothing is denied as a PUT to something hidden is.
func (g *Gateway) update(ctx context.Context, k *call) (answer, error) {
	r, err := g.incoming(k)
	if err != nil {
		return answer{}, err
	}
	if r.ID() != k.id {
		return answer{}, badRequest("the resource's id is not that of the address")
	}
	ifMatch, err := ifMatch(k.header)
	if err != nil {
		return answer{}, err
	}
	unlock, err := g.lock(ctx, k)
	if err != nil {
		return answer{}, err
	}
	defer unlock()
	if g.c.Modes[k.typ] == Observe {
		return g.storePlain(ctx, k, r, ifMatch)
	}
	old, err := g.find(ctx, k)
	if err != nil {
		return answer{}, err
	}
	if !old.exists() && g.loader(k) {
		if ifMatch != "" {
			return answer{}, g.precondition(ctx, k, old)
		}
		k.interaction = interactionCreate
		if err := g.vacant(ctx, k); err != nil {
			return answer{}, err
		}
		return g.store(ctx, k, r, nil)
	}
	if g.decideChange(ctx, k, policy.Update, old); !old.decision.Permit {
		return answer{}, g.deny(ctx, k, old)
	}
	if ifMatch != "" && ifMatch != strconv.FormatUint(old.row.Revision, 10) {
		return answer{}, g.precondition(ctx, k, old)
	}
	if k.before = old.row.Upstream; old.row.Deleted || lost(old.row) {
		k.before = ""
		if err := g.vacant(ctx, k); err != nil {
			return answer{}, err
		}
	}
	return g.store(ctx, k, r, old)
}

// decideChange asks policy about a change of what is there. Whoever replaces or
// deletes a record says that they know what it is; who neither may read it, nor
// wrote it, nor is a registered system is told what would be told of nothing.
func (g *Gateway) decideChange(ctx context.Context, k *call, action string, old *candidate) {
	if g.decide(ctx, k, action, old); !old.decision.Permit || g.loader(k) || g.wrote(k, old) {
		return
	}
	if d := g.mayRead(ctx, k, old); !d.Permit {
		old.decision = d
	}
}

// wrote is true of a record that names the caller as its author.
func (g *Gateway) wrote(k *call, c *candidate) bool {
	return c.attributes.Author != "" && c.attributes.Author == k.session.Subject.ID
}

// mayRead asks policy whether the caller could read a record as it is.
func (g *Gateway) mayRead(ctx context.Context, k *call, c *candidate) policy.Decision {
	return g.c.Engine.Decide(ctx, g.c.State, k.request(policy.Read, c.attributes), k.now)
}

// vacant makes sure that there is nothing in the store where a record is to
// begin, or to begin again. What the index does not know and is a skeleton was
// left when its answer got lost, and is replaced; anything else is not ours to
// overwrite.
func (g *Gateway) vacant(ctx context.Context, k *call) error {
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Upstream)
	defer cancel()
	v, err := g.c.Upstream.Read(ctx, k.typ, k.id)
	switch {
	case err != nil && gone(err):
		return nil
	case err != nil:
		return fmt.Errorf("read before create: %w", err)
	}
	if _, err := records.FromSkeleton(v.Resource); err != nil {
		return refuse(conflicted, fmt.Errorf("store holds %s/%s, which the index does not know", k.typ, k.id))
	}
	k.before = v.VersionID
	return nil
}

// delete answers DELETE: a revision without content follows, and the history
// stays.
func (g *Gateway) delete(ctx context.Context, k *call) (answer, error) {
	if err := g.writable(k); err != nil {
		return answer{}, err
	}
	ifMatch, err := ifMatch(k.header)
	if err != nil {
		return answer{}, err
	}
	unlock, err := g.lock(ctx, k)
	if err != nil {
		return answer{}, err
	}
	defer unlock()
	if g.c.Modes[k.typ] == Observe {
		return g.deletePlain(ctx, k, ifMatch)
	}
	old, err := g.find(ctx, k)
	if err != nil {
		return answer{}, err
	}
	if g.decideChange(ctx, k, policy.Delete, old); !old.decision.Permit {
		return answer{}, g.deny(ctx, k, old)
	}
	if ifMatch != "" && ifMatch != strconv.FormatUint(old.row.Revision, 10) {
		return answer{}, g.precondition(ctx, k, old)
	}
	if old.row.Deleted { // it is as it was to be
		e := g.writeEntry(k, old, old.ref())
		e.Kind = chain.Access
		return answer{status: http.StatusNoContent, revision: strconv.FormatUint(old.row.Revision, 10)}, g.append(ctx, k, e)
	}
	row := old.row
	row.Revision, row.Updated, row.Deleted = row.Revision+1, k.now.Truncate(time.Millisecond).UTC(), true
	attributes := old.attributes
	attributes.Updated = row.Updated.UnixMilli()
	if row.Attributes, err = g.c.Attributes.Seal(attributes, row.Revision); err != nil {
		return answer{}, refuse(internal, err)
	}
	gone := &candidate{row: row, attributes: attributes, decision: old.decision}
	i := &intent{kind: deleteSealed, row: row, before: old.row.Upstream, permitted: g.again(ctx, k, attributes)}
	if err := g.commit(ctx, k, i, g.writeEntry(k, gone, gone.ref()), nil); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent, revision: strconv.FormatUint(row.Revision, 10)}, nil
}

// incoming reads the resource of a POST or PUT.
func (g *Gateway) incoming(k *call) (*fhir.Resource, error) {
	if err := g.writable(k); err != nil {
		return nil, err
	}
	r, err := fhir.Parse(k.body, fhir.Limits{Bytes: int(g.c.Limits.Body)})
	if err != nil {
		return nil, err
	}
	if r.Type() != k.typ {
		return nil, badRequest("the resource's type is not that of the address")
	}
	if g.c.Modes[k.typ] == Seal && len(r.JSON()) > maxSealed {
		return nil, refuseFor(tooLarge, "sealed it would be larger than a store takes")
	}
	return r, nil
}

// maxSealed bounds a resource that is sealed: padded (by 2 % at this size) and in
// base64 it must still be a resource of at most 10 MiB.
const maxSealed = 7 << 20

// writable refuses what is not written here: parameters, conditions, types.
func (g *Gateway) writable(k *call) error {
	if reserved(k.typ) {
		return refuseFor(forbidden, "resources of this type are not written through FHIR")
	}
	if _, served := g.c.Modes[k.typ]; !served {
		return refuse(notServed, nil)
	}
	if err := only(k.query); err != nil {
		return err
	}
	for _, condition := range []string{"If-None-Exist", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if len(k.header.Values(condition)) > 0 {
			return refuseFor(notSupported, condition)
		}
	}
	return nil
}

// lock has writes of one resource take turns. While an earlier one is being
// read back there is no telling what a next one would replace.
func (g *Gateway) lock(ctx context.Context, k *call) (unlock func(), err error) {
	if unlock, err = g.locks.lock(ctx, k.typ, k.id); err != nil {
		return nil, err
	}
	if g.intents.isStuck(k.typ, k.id) {
		unlock()
		return nil, refuse(busy, nil)
	}
	return unlock, nil
}

// loader is true of the registered systems that may choose ids.
func (g *Gateway) loader(k *call) bool {
	registered, ok := g.c.Trust.Client(k.session.Subject.Client)
	return ok && registered.Kind == policy.ClientSystem
}

// ifMatch is the revision that If-Match names; "" without one.
func ifMatch(h http.Header) (string, error) {
	value, err := one(h, "If-Match")
	if err != nil || value == "" {
		return "", err
	}
	tag, ok := strings.CutSuffix(strings.TrimPrefix(strings.TrimPrefix(value, "W/"), `"`), `"`)
	if !ok || !fhir.ValidID(tag) || (value != etag(tag) && value != `"`+tag+`"`) {
		return "", badRequest("If-Match is not one entity tag")
	}
	return tag, nil
}

// precondition logs and answers a write that was right in every way but for the
// version it was meant for.
func (g *Gateway) precondition(ctx context.Context, k *call, c *candidate) error {
	c.decision.Reason = "precondition"
	if err := g.append(ctx, k, g.denial(k, c)); err != nil {
		return err
	}
	return refuse(preconditionFailed, nil)
}

// store decides on the new image and writes it, over old if there is one.
func (g *Gateway) store(ctx context.Context, k *call, r *fhir.Resource, old *candidate) (answer, error) {
	if g.c.Modes[k.typ] == Observe {
		return g.storePlain(ctx, k, r, "")
	}
	if namesItself(r) {
		return answer{}, refuse(identifierAsID, nil)
	}
	r, err := g.plainOwner(r)
	if err != nil {
		return answer{}, err
	}
	sent := r
	c, r, err := g.image(k, r, old)
	if err != nil {
		return answer{}, err
	}
	if k.typ == "Patient" && has(r, "link") {
		c.decision = policy.Decision{Reason: reasonLink, Policy: g.c.Engine.Digest()}
		if err := g.logForbidden(ctx, k, c); err != nil {
			return answer{}, err
		}
		return answer{}, invalidAt("Patient.link", "patients are made one by an administrator, not here")
	}
	// Changing whose record it is comes before everything else that may be wrong.
	if old != nil && c.attributes.Patient != old.attributes.Patient {
		c.decision = policy.Decision{Reason: reasonReparent, Policy: g.c.Engine.Digest()}
		return answer{}, g.forbid(ctx, k, c)
	}
	if g.decideWrite(ctx, k, c); !c.decision.Permit {
		return answer{}, g.forbid(ctx, k, c)
	}
	if err := g.valid(ctx, r, c.attributes.Patient); err != nil {
		return answer{}, err
	}
	envelope, err := g.c.Sealer.Seal(r, c.attributes, c.row.Revision)
	if err != nil {
		return answer{}, refuse(unprocessable, err)
	}
	terms := index.Terms(r)
	if err := g.c.IndexKey.SealTerms(envelope, terms); err != nil {
		return answer{}, refuse(internal, err)
	}
	skeleton, err := records.Skeleton(r, envelope)
	if err != nil {
		return answer{}, refuse(unprocessable, err)
	}
	c.row.Digest, c.row.Attributes = envelope.Digest(), envelope.Attributes
	i := &intent{kind: putSealed, row: c.row, terms: terms, before: k.before, permitted: g.again(ctx, k, c.attributes)}
	if err := g.commit(ctx, k, i, g.writeEntry(k, c, c.ref()), skeleton); err != nil {
		return answer{}, err
	}
	shown := g.shows(ctx, k, sent, c)
	return g.written(k, r, c, old == nil || old.row.Deleted, shown)
}

// The reasons in the entries of writes that would have moved a record to another
// patient, or made two patients one: that is an administrator's to do.
const (
	reasonReparent = "reparent"
	reasonLink     = "link"
)

// shows tells whether the answer to a write may show what was stored: to those
// who may read it, and to a registered system what says no more than was sent.
// Labels that were kept from before are news.
func (g *Gateway) shows(ctx context.Context, k *call, sent *fhir.Resource, c *candidate) bool {
	if !g.loader(k) {
		return g.mayRead(ctx, k, c).Permit
	}
	said, err := policy.Describe(sent, g.c.Labelling, k.now)
	return err == nil && said.Conf == c.attributes.Conf && slices.Equal(said.Sens, c.attributes.Sens)
}

func has(r *fhir.Resource, element string) bool {
	_, there := r.Tree()[element]
	return there
}

// image is what is to be written, as a candidate of the next revision. Labels
// that were there stay: a client may raise them and never lower, and one that
// sends none lowers none.
func (g *Gateway) image(k *call, r *fhir.Resource, old *candidate) (*candidate, *fhir.Resource, error) {
	m := r.Meta()
	m.VersionID, m.LastUpdated = "", time.Time{}
	revision := uint64(1)
	if old != nil {
		revision = old.row.Revision + 1
		m.Security = raised(m.Security, old.attributes)
	}
	r, err := r.WithMeta(m)
	if err != nil {
		return nil, nil, err
	}
	updated := k.now.Truncate(time.Millisecond).UTC()
	attributes, err := policy.Describe(r, g.c.Labelling, updated)
	if err != nil {
		return nil, nil, refuse(unprocessable, err)
	}
	if attributes.Patient == "" {
		return nil, nil, refuseFor(unprocessable, "it names no patient, to whose record it would belong")
	}
	return &candidate{
		row:        index.Row{Type: r.Type(), ID: r.ID(), Revision: revision, Patient: attributes.Patient, Updated: updated},
		attributes: attributes,
	}, r, nil
}

// raised adds the labels that a record had to those that a client sends, and
// keeps the stricter confidentiality.
func raised(sent []fhir.Coding, old policy.Resource) []fhir.Coding {
	for _, c := range sent {
		if c.System == policy.SystemConfidentiality {
			old.Conf = higher(old.Conf, c.Code)
		}
	}
	return mergeCodings(sent, securityOf(old))
}

// decideWrite asks policy about an image that is not there yet.
func (g *Gateway) decideWrite(ctx context.Context, k *call, c *candidate) {
	c.decision = g.c.Engine.Decide(ctx, g.c.State, k.request(k.action(), c.attributes), k.now)
	g.metrics.decision(c.decision)
}

// again asks policy once more, at the time of the write's own entry: whatever
// came into the log before it, a sign-out or the end of a relationship, counts.
// Reads need no such thing, for the custodians decide at that time.
func (g *Gateway) again(ctx context.Context, k *call, a policy.Resource) func(time.Time) bool {
	ctx = context.WithoutCancel(ctx)
	req := k.request(k.action(), a)
	return func(at time.Time) bool { return g.c.Engine.Decide(ctx, g.c.State, req, at).Permit }
}

// forbid logs a write that is not allowed, under its patient if there is such a
// one, and says so: whoever writes knows what they wrote.
func (g *Gateway) forbid(ctx context.Context, k *call, c *candidate) error {
	if err := g.logForbidden(ctx, k, c); err != nil {
		return err
	}
	return refuse(forbidden, nil)
}

func (g *Gateway) logForbidden(ctx context.Context, k *call, c *candidate) error {
	e := g.denial(k, c)
	e.Resources = []chain.Resource{{Type: c.row.Type, ID: c.row.ID}}
	known, err := g.existing(ctx, validPatients(c.row.Patient))
	if err != nil {
		return err
	}
	if len(known) == 0 {
		e.Patient = ""
	}
	k.reason = c.decision.Reason
	return g.append(ctx, k, e)
}

func validPatients(patient string) []string {
	if !strings.HasPrefix(patient, "Patient/") {
		return nil
	}
	return []string{patient}
}

func (g *Gateway) writeEntry(k *call, c *candidate, ref chain.Resource) chain.Entry {
	e := k.entry(chain.Write)
	e.Patient, e.Resources = c.row.Patient, []chain.Resource{ref}
	e.Decision, e.Reason, e.Grants, e.Policy = decisionPermit, string(c.decision.Reason), c.decision.Grants, c.decision.Policy[:]
	return e
}

// written is the answer to a write that is in the store.
func (g *Gateway) written(k *call, r *fhir.Resource, c *candidate, created, shown bool) (answer, error) {
	revision := strconv.FormatUint(c.row.Revision, 10)
	a := answer{status: http.StatusOK, revision: revision, modified: c.row.Updated}
	if created {
		a.status = http.StatusCreated
		a.location = g.c.Base + "/" + c.row.Type + "/" + c.row.ID + "/_history/" + revision
	}
	if !shown || preferMinimal(k.header) {
		return a, nil
	}
	var err error
	a.resource, err = g.present(r, &candidate{row: c.row, attributes: c.attributes})
	return a, err
}

// preferMinimal reads Prefer: return=… (RFC 7240; FHIR R4 §3.1.0.1.9). What else
// may be preferred is not honoured, as a server may.
func preferMinimal(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Prefer"), func(v string) bool {
		for part := range strings.SplitSeq(v, ",") {
			if preference, _, _ := strings.Cut(strings.TrimSpace(part), ";"); strings.EqualFold(strings.TrimSpace(preference), "return=minimal") {
				return true
			}
		}
		return false
	})
}

// namesItself is true of a resource whose id is one of its identifiers. Ids are
// in the clear in the store and in its URLs; a medical record number must not be.
func namesItself(r *fhir.Resource) bool { return holdsIdentifier(r.Tree(), r.ID()) }

func holdsIdentifier(node any, id string) bool {
	switch n := node.(type) {
	case []any:
		return slices.ContainsFunc(n, func(v any) bool { return holdsIdentifier(v, id) })
	case map[string]any:
		for name, v := range n {
			if name == "identifier" && identifierIs(v, id) || holdsIdentifier(v, id) {
				return true
			}
		}
	}
	return false
}

func identifierIs(v any, id string) bool {
	switch n := v.(type) {
	case []any:
		return slices.ContainsFunc(n, func(v any) bool { return identifierIs(v, id) })
	case map[string]any:
		return n["value"] == id
	}
	return false
}

// storePlain writes a type that is in clear: decided and logged like any other,
// and under the store's versions.
func (g *Gateway) storePlain(ctx context.Context, k *call, r *fhir.Resource, ifMatch string) (answer, error) {
	attributes, err := policy.Describe(r, g.c.Labelling, k.now)
	if err != nil {
		return answer{}, refuse(unprocessable, err)
	}
	c := &candidate{row: index.Row{Type: r.Type(), ID: r.ID()}, attributes: attributes}
	if g.decideWrite(ctx, k, c); !c.decision.Permit {
		return answer{}, g.forbid(ctx, k, c)
	}
	created := k.interaction == interactionCreate
	if !created {
		_, err := g.c.Upstream.Read(ctx, k.typ, k.id)
		if created = err != nil && gone(err) && g.loader(k); err != nil && !created {
			return answer{}, lostOr(err)
		}
	}
	if c.row.Digest, err = plainDigest(r); err != nil {
		return answer{}, refuse(internal, err)
	}
	ref := chain.Resource{Type: r.Type(), ID: r.ID(), Digest: c.row.Digest[:]}
	i := &intent{kind: putPlain, row: c.row, before: ifMatch, permitted: g.again(ctx, k, c.attributes)}
	if err := g.commit(ctx, k, i, g.writeEntry(k, c, ref), r); err != nil {
		return answer{}, staleOr(err, ifMatch)
	}
	a := answer{status: http.StatusOK, revision: i.row.Upstream}
	if created {
		a.status = http.StatusCreated
		a.location = g.c.Base + "/" + k.typ + "/" + k.id + "/_history/" + i.row.Upstream
	}
	if preferMinimal(k.header) {
		return a, nil
	}
	m := r.Meta()
	m.VersionID, m.LastUpdated = i.row.Upstream, i.row.Updated
	a.modified = i.row.Updated
	if a.resource, err = r.WithMeta(m); err != nil {
		return answer{}, refuse(internal, err)
	}
	return a, nil
}

func (g *Gateway) deletePlain(ctx context.Context, k *call, ifMatch string) (answer, error) {
	c := &candidate{row: index.Row{Type: k.typ, ID: k.id}, attributes: policy.Resource{Type: k.typ, ID: k.id}}
	if g.decideWrite(ctx, k, c); !c.decision.Permit {
		return answer{}, g.forbid(ctx, k, c)
	}
	i := &intent{kind: deletePlain, row: c.row, before: ifMatch, permitted: g.again(ctx, k, c.attributes)}
	if err := g.commit(ctx, k, i, g.writeEntry(k, c, chain.Resource{Type: k.typ, ID: k.id}), nil); err != nil {
		return answer{}, staleOr(err, ifMatch)
	}
	return answer{status: http.StatusNoContent}, nil
}

// staleOr tells a client that named a version that it named the wrong one.
func staleOr(err error, ifMatch string) error {
	if ifMatch != "" && errors.Is(err, client.ErrConflict) {
		return refuse(preconditionFailed, err)
	}
	return err
}

func lostOr(err error) error {
	if gone(err) {
		return refuse(hidden, nil)
	}
	return fmt.Errorf("read before write: %w", err)
}
