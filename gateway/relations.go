package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// previewRelation answers POST /api/relations/preview: a care relationship as it
// is to be signed, and its digest. Times are RFC 3339.
func (g *Gateway) previewRelation(_ context.Context, k *call) (int, any, error) {
	var in struct {
		ID      string `json:"id"`
		Kind    string `json:"kind"`
		Subject string `json:"subject"`
		Patient string `json:"patient"`
		Unit    string `json:"unit"`
		For     string `json:"for"`
		From    string `json:"from"`
		Until   string `json:"until"`
	}
	if err := strictJSON(k.body, &in); err != nil {
		return 0, nil, err
	}
	from, err := instant(in.From, k.now)
	if err != nil {
		return 0, nil, err
	}
	until, err := instant(in.Until, time.Time{})
	if err != nil {
		return 0, nil, err
	}
	r := policy.Relation{
		V: 1, ID: in.ID, Kind: in.Kind, Subject: in.Subject, Patient: patientRef(in.Patient), Unit: in.Unit, For: in.For,
		From: from.UnixMilli(), Until: until.UnixMilli(), Issued: k.now.UnixMilli(),
	}
	if r.ID == "" {
		r.ID = "r-" + newID()
	}
	if err := r.Validate(); err != nil {
		return 0, nil, refuseWith(statementRefused, statementFault(err), err)
	}
	digest := r.Digest()
	return http.StatusOK, map[string]any{"relation": r, "digest": encode64(digest[:])}, nil
}

// instant reads RFC 3339; otherwise if it is not stated, which must then not be
// zero.
func instant(s string, otherwise time.Time) (time.Time, error) {
	if s == "" && !otherwise.IsZero() {
		return otherwise, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, badRequest("a time is not RFC 3339")
	}
	return t, nil
}

// signedBy is a signature as it comes in JSON, under either of two names, as
// everywhere else here or as in the statement itself.
type signedBy struct {
	Signer    string `json:"signer"`
	Value     string `json:"value"`
	Signature string `json:"signature"`
}

func signatures(in []signedBy) ([]policy.Signature, error) {
	out := make([]policy.Signature, 0, len(in))
	for _, s := range in {
		if (s.Value == "") == (s.Signature == "") {
			return nil, badRequest("a signature has a signer and one signature")
		}
		value, err := decode64(s.Value + s.Signature)
		if err != nil {
			return nil, err
		}
		out = append(out, policy.Signature{Signer: s.Signer, Value: value})
	}
	return out, nil
}

// createRelation answers POST /api/relations. The signatures are the proof; who
// brings them may be anybody.
func (g *Gateway) createRelation(ctx context.Context, k *call) (int, any, error) {
	var in struct {
		Relation   policy.Relation `json:"relation"`
		Signatures []signedBy      `json:"signatures"`
	}
	if err := strictJSON(k.body, &in); err != nil {
		return 0, nil, err
	}
	signed, err := signatures(in.Signatures)
	if err != nil {
		return 0, nil, err
	}
	statement := policy.SignedRelation{Relation: in.Relation, Signatures: signed}
	if g.stillborn(in.Relation, k.now) {
		k.patient = in.Relation.Patient
		return 0, nil, refuseWith(statementRefused, "it has ended before it is recorded", nil)
	}
	e := k.entryBy(chain.Relation, in.Relation.Patient, statement.Encode())
	if e.Actor == "" {
		e.Actor = strings.Join(lo.Map(in.Signatures, func(s signedBy, _ int) string { return s.Signer }), " ")
	}
	index, err := g.state(ctx, k, e)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"id": in.Relation.ID, "entry": index}, nil
}

// stillborn is true of a relation that has ended and ends none that runs: to
// move the end of one that does to now is how a relation is ended early.
func (g *Gateway) stillborn(r policy.Relation, now time.Time) bool {
	if r.Until > now.UnixMilli() || r.Subject == "" || r.Patient == "" {
		return false
	}
	return !slices.Contains(g.c.State.Patients(policy.Subject{ID: r.Subject}, now), r.Patient)
}
