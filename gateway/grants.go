package gateway

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// previewGrant answers POST /api/grants/preview: the grant that the patient's
// words make, what it says in sentences, and the digest of both, which is what
// the patient signs.
func (g *Gateway) previewGrant(_ context.Context, k *call) (int, any, error) {
	if err := onceEach(k.body); err != nil {
		return 0, nil, err
	}
	wanted, err := policy.ParseGrantRequest(k.body)
	if err != nil {
		return 0, nil, refuseWith(malformed, err.Error(), err)
	}
	wanted.Patient = patientRef(wanted.Patient)
	if err := ownPatient(k, wanted.Patient); err != nil {
		return 0, nil, err
	}
	grant, err := policy.Preview(wanted, k.now)
	if err != nil {
		return 0, nil, refuseWith(statementRefused, statementFault(err), err)
	}
	digest := grant.Digest()
	return http.StatusOK, map[string]any{"grant": grant, "digest": encode64(digest[:]), "sentence": grant.Sentence()}, nil
}

// createGrant answers POST /api/grants: a grant that the patient has signed. The
// session must be the patient's, and the signature must be by the patient's key
// whatever the session says: the gateway cannot give what it was not given.
func (g *Gateway) createGrant(ctx context.Context, k *call) (int, any, error) {
	var in struct {
		Grant     policy.Grant `json:"grant"`
		Signature string       `json:"signature"`
	}
	if err := strictJSON(k.body, &in); err != nil {
		return 0, nil, err
	}
	signature, err := decode64(in.Signature)
	if err != nil {
		return 0, nil, err
	}
	if err := ownPatient(k, in.Grant.Patient); err != nil {
		return 0, nil, err
	}
	// Sent again after an answer got lost, it is the same grant and not another.
	digest := in.Grant.Digest()
	if s, known := g.c.State.GrantByID(in.Grant.ID); known && s.Digest == digest && s.Withdrawn.IsZero() &&
		g.signedByPatient(in.Grant.Patient, policy.GrantMessage(digest), signature) {
		if err := g.confirmedAgain(ctx, k, s.Index); err != nil {
			return 0, nil, err
		}
		return http.StatusOK, map[string]any{"id": in.Grant.ID, "entry": s.Index}, nil
	}
	statement := policy.SignedGrant{Grant: in.Grant, Signature: signature}
	index, err := g.state(ctx, k, k.entryBy(chain.Grant, in.Grant.Patient, statement.Encode()))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"id": in.Grant.ID, "entry": index}, nil
}

// listGrants answers GET /api/grants?patient=: the patient's own statements.
func (g *Gateway) listGrants(ctx context.Context, k *call) (int, any, error) {
	if err := only(k.query, "patient"); err != nil {
		return 0, nil, err
	}
	if len(k.query["patient"]) != 1 {
		return 0, nil, refuseFor(badValue, "patient: must have exactly one value")
	}
	patient := patientRef(k.query.Get("patient"))
	if err := ownPatient(k, patient); err != nil {
		return 0, nil, err
	}
	e := k.entryBy(chain.Access, patient, nil)
	e.Action, e.Decision, e.Reason = "grants", decisionPermit, string(policy.PermittedOwn)
	if err := g.append(ctx, k, e); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, map[string]any{"grants": lo.Map(g.c.State.Grants(patient), func(s policy.GrantStatus, _ int) any {
		return map[string]any{
			"grant": s.Grant, "digest": encode64(s.Digest[:]), "status": s.Status, "entry": s.Index, "withdrawn": stamp(s.Withdrawn), "sentence": s.Grant.Sentence(),
		}
	})}, nil
}

// withdrawGrant answers POST /api/grants/{id}/withdraw. Once it says yes, enough
// custodians know that no quorum opens anything by the grant any more.
func (g *Gateway) withdrawGrant(ctx context.Context, k *call) (int, any, error) {
	var in struct {
		Signature string `json:"signature"`
	}
	if err := strictJSON(k.body, &in); err != nil {
		return 0, nil, err
	}
	signature, err := decode64(in.Signature)
	if err != nil {
		return 0, nil, err
	}
	status, ok := g.c.State.GrantByID(k.id)
	if k.patient = status.Grant.Patient; !ok || k.session.Subject.ID != status.Grant.Patient {
		return 0, nil, refuse(hidden, nil)
	}
	if !status.Withdrawn.IsZero() && g.signedByPatient(status.Grant.Patient, policy.WithdrawMessage(status.Digest), signature) {
		index, err := g.withdrawal(ctx, status)
		if err != nil {
			return 0, nil, err
		}
		if err := g.confirmedAgain(ctx, k, index); err != nil {
			return 0, nil, err
		}
		return http.StatusOK, map[string]any{"id": k.id, "entry": index, "final": final(status.Withdrawn)}, nil
	}
	statement := policy.Withdrawal{Grant: k.id, Patient: status.Grant.Patient, Digest: status.Digest[:], Signature: signature}
	index, err := g.state(ctx, k, k.entryBy(chain.Withdraw, status.Grant.Patient, statement.Encode()))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, map[string]any{"id": k.id, "entry": index, "final": final(g.now())}, nil
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 reads base64url without padding, in its one spelling.
func decode64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, badRequest("not base64url without padding")
	}
	return b, nil
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
