package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

// maxTombstones bounds, for each patient and hand, the withdrawals whose grant
// has not come. They cannot be forgotten: the grant would come then.
const maxTombstones = 256

// tombstone is a withdrawal that came before its grant.
type tombstone struct {
	grant   string // id
	digest  [sha256.Size]byte
	patient string
	signer  string // "" is the patient
}

// tombstones are such withdrawals, with the time of their entry, Unix ms, and
// how many each patient has by each hand. The lock of the state guards it.
type tombstones struct {
	at    map[tombstone]int64
	count map[[2]string]int // patient, signer
}

func newTombstones() tombstones {
	return tombstones{at: map[tombstone]int64{}, count: map[[2]string]int{}}
}

func (t *tombstones) put(one tombstone, at int64) {
	t.at[one] = at
	t.count[[2]string{one.patient, one.signer}]++
}

// take removes a tombstone whose grant has come: its id is known from now on.
func (t *tombstones) take(one tombstone) {
	if _, there := t.at[one]; !there {
		return
	}
	delete(t.at, one)
	owner := [2]string{one.patient, one.signer}
	if t.count[owner]--; t.count[owner] == 0 {
		delete(t.count, owner)
	}
}

// planWithdraw wants the signature of whoever may sign the grant. A withdrawal
// counts on whichever side of its grant the log has it.
func (s *State) planWithdraw(e Event) (func(), error) {
	w, err := DecodeWithdrawal(e.Statement)
	if err != nil {
		return nil, err
	}
	if err := w.validate(); err != nil {
		return nil, err
	}
	if err := about(e, w.Patient); err != nil {
		return nil, err
	}
	digest, now := [sha256.Size]byte(w.Digest), e.At.UnixMilli()
	r := s.statements.byID[w.Grant]
	if r == nil {
		return s.planTombstone(w, tombstone{w.Grant, digest, w.Patient, w.Signer}, now)
	}
	switch {
	case r.digest != digest || r.grant.Patient != w.Patient:
		return nil, fmt.Errorf("%s is another statement than the one withdrawn", clip(w.Grant))
	case r.withdrawn != 0:
		return nil, fmt.Errorf("%s was withdrawn or replaced already", clip(w.Grant))
	}
	if err := s.verifySigner(r.grant, w.Signer, WithdrawMessage(digest), w.Signature); err != nil {
		return nil, err
	}
	return func() { s.statements.withdraw(r, now, "") }, nil
}

// validate reports what makes the withdrawal none.
func (w Withdrawal) validate() error {
	switch {
	case !grantID.MatchString(w.Grant):
		return fmt.Errorf("grant %q: want g- and 8 to 64 of A-Z a-z 0-9 _ -", clip(w.Grant))
	case len(w.Digest) != sha256.Size:
		return fmt.Errorf("digest of %d bytes, not %d: a withdrawal says which statement it means", len(w.Digest), sha256.Size)
	case w.Patient == "" && w.Signer == "":
		return errors.New("a withdrawal says whose statement it means")
	case w.Patient != "" && !isRef(w.Patient, "Patient"):
		return fmt.Errorf("patient %q", clip(w.Patient))
	}
	return nil
}

// planTombstone takes in a withdrawal of what is not there yet: by the patient,
// or by somebody registered for one of the layers above.
func (s *State) planTombstone(w Withdrawal, one tombstone, now int64) (func(), error) {
	var err error
	if w.Signer == "" {
		err = s.people.verify(w.Patient, WithdrawMessage(one.digest), w.Signature)
	} else {
		err = s.verifyRegistered(w.Signer, WithdrawMessage(one.digest), w.Signature, SignerGovernance, SignerPrivacy, SignerPolicyAdmin)
	}
	if err != nil {
		return nil, err
	}
	if _, there := s.tombstones.at[one]; there {
		return nil, fmt.Errorf("%s was withdrawn already", clip(w.Grant))
	}
	if s.tombstones.count[[2]string{one.patient, one.signer}] >= maxTombstones {
		return nil, fmt.Errorf("%d statements that are not here have been withdrawn already", maxTombstones)
	}
	return func() { s.tombstones.put(one, now) }, nil
}

// buried tells when a statement was withdrawn before it came, by somebody who
// may sign for its layer; 0 if it was not.
func (s *State) buried(g Grant, digest [sha256.Size]byte) (tombstone, int64) {
	one := tombstone{grant: g.ID, digest: digest, patient: g.Patient}
	kinds := signerKinds(g.Layer)
	if kinds == nil {
		return one, s.tombstones.at[one]
	}
	for _, signer := range s.trust.Signers {
		one.signer = signer.ID
		if at := s.tombstones.at[one]; at != 0 && slices.Contains(kinds, signer.Kind) {
			return one, at
		}
	}
	return tombstone{}, 0
}
