package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
)

// What calls of /api are about, as the log names it.
const (
	aboutGrant    = "grant"
	aboutWithdraw = "withdraw"
	aboutRelation = "relation"
	aboutEnrol    = "enrol"
)

// reasonStatement is the reason in the entries of statements that were brought
// and not taken: not the bringer's to bring, not signed as they must be, or
// taken back already.
const reasonStatement = "statement"

// patientRef is a patient as the API's fields name one: "Patient/x", or x alone.
func patientRef(s string) string {
	if fhir.ValidID(s) {
		return "Patient/" + s
	}
	return s
}

// logRefused leaves a denial of a statement that somebody signed in has brought.
// It is in the history of the patient meant, if there is one. What nobody
// answers for leaves none: anybody could fill the log.
func (g *Gateway) logRefused(ctx context.Context, k *call, err error) error {
	if k.session.Subject.ID == "" || k.entryHeader() != "" {
		return err
	}
	switch classify(err).kind {
	case forbidden, hidden, statementRefused:
	default:
		return err
	}
	known, failed := g.existing(ctx, validPatients(k.patient))
	if failed != nil {
		return failed
	}
	digest := g.c.Engine.Digest()
	e := k.entry(chain.Deny)
	e.Decision, e.Reason, e.Policy = decisionDeny, reasonStatement, digest[:]
	if len(known) > 0 {
		e.Patient = k.patient
	}
	k.reason = reasonStatement
	if failed := g.append(ctx, k, e); failed != nil {
		return failed
	}
	return err
}

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// statementFault says what is wrong with a statement in policy's words, without
// what it quotes and not at any length.
func statementFault(err error) string {
	if errors.Is(err, policy.ErrSignature) {
		return "the signature is not that of the key that must sign"
	}
	text := err.Error()
	if _, reason, ok := strings.Cut(text, policy.ErrRefused.Error()+": "); ok {
		text = reason
	}
	text = strings.ToValidUTF8(quoted.ReplaceAllString(text, "…"), "…")
	if runes := []rune(text); len(runes) > 160 {
		text = string(runes[:160]) + "…"
	}
	return text
}

// confirmedAgain is for a statement that was in the log before this call.
func (g *Gateway) confirmedAgain(ctx context.Context, k *call, index uint64) error {
	k.logged([]chain.Receipt{{Index: index}})
	return g.confirmed(ctx, index)
}

// confirmed waits until enough custodians hold an entry.
func (g *Gateway) confirmed(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, g.c.Limits.Wait)
	defer cancel()
	if err := g.c.Quorum.Cosigned(ctx, index); err != nil {
		return refuseWith(unconfirmed, fmt.Sprintf("entry %d", index), err)
	}
	return nil
}

// signedByPatient tells whether the signature is by the patient's key of today.
func (g *Gateway) signedByPatient(patient string, message, signature []byte) bool {
	key, known := g.c.State.Key(patient)
	return known && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature)
}

// withdrawal is the index of the entry that withdrew a grant, or replaced it.
// Times in the log never decrease, so that it is found by its own.
func (g *Gateway) withdrawal(ctx context.Context, s policy.GrantStatus) (uint64, error) {
	if by, ok := g.c.State.GrantByID(s.By); s.By != "" && ok {
		return by.Index, nil
	}
	size, at := g.c.Chain.Size(), s.Withdrawn.UnixMilli()
	var failed error
	bodyTime := func(index uint64) int64 {
		b, err := g.c.Chain.Body(ctx, index)
		if err != nil {
			failed = errors.Join(failed, err)
			return 0
		}
		return b.Time
	}
	for index := uint64(sort.Search(int(size), func(i int) bool { return bodyTime(uint64(i)) >= at })); index < size; index++ {
		b, err := g.c.Chain.Body(ctx, index)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if b.Time > at {
			break
		}
		if w, err := policy.DecodeWithdrawal(b.Statement); b.Kind == chain.Withdraw && err == nil && w.Grant == s.Grant.ID {
			return index, nil
		}
	}
	return 0, refuse(logDown, fmt.Errorf("withdrawal of %s: %w", s.Grant.ID, errors.Join(errors.New("not found in the log"), failed)))
}

// final is when a withdrawal has ended everything: releases that custodians had
// under way may be used until then and no longer.
func final(now time.Time) string {
	return now.Add(records.MaxLifetime).Add(time.Second - 1).UTC().Format(time.RFC3339)
}
