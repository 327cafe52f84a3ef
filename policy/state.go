package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/samber/lo"
)

// Event is one entry of the log, as the state sees it.
type Event struct {
	Index     uint64    // of the entry
	At        time.Time // of the entry; never decreasing
	Kind      string
	Actor     string
	Patient   string // whose record: "Patient/p1"; "" for nobody's
	SignIn    uint64 // index of the sign-in entry the actor acted under; 0 is none
	Statement []byte
}

// State is what the entries of the log define: sessions, people's keys,
// statements, relations. Whoever applies the same entries under the same Trust
// has the same State. It is safe for concurrent use.
type State struct {
	trust  *Trust
	scopes map[string]Scopes // registered, by client
	bad    error             // why the trust is no trust: nothing is accepted then

	mu         sync.RWMutex // guards what follows
	latest     int64        // time of the newest entry, Unix ms
	sessions   sessions
	people     people
	statements statements
	relations  relations
	tombstones tombstones
}

// NewState returns the empty state under a trust, which it copies. Under a
// trust that does not validate no statement is accepted; the error says why.
func NewState(t *Trust) *State {
	s := &State{
		trust: &Trust{}, scopes: map[string]Scopes{},
		sessions: newSessions(), people: newPeople(), statements: newStatements(), relations: newRelations(),
		tombstones: newTombstones(),
	}
	text, err := t.YAML()
	if err == nil {
		s.trust, err = ParseTrust(text)
	}
	if err != nil {
		s.trust, s.bad = &Trust{}, err
		return s
	}
	for _, c := range s.trust.Clients {
		s.scopes[c.ID], _ = ParseScopes(c.Scopes) // validated
	}
	return s
}

// Trust returns the trust of the state, not to be changed.
func (s *State) Trust() *Trust { return s.trust }

// ErrRefused is wrapped by every error of [State.Apply]: the entry is on the
// log, and has no effect.
var ErrRefused = errors.New("statement refused")

// Apply takes in one entry. It verifies the statement by itself, against pinned
// keys and at the entry's time; one that does not hold has no effect and is
// returned as an error. Kinds that change nothing here are ignored.
//
// Entries are applied in the order of the log.
func (s *State) Apply(e Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = max(s.latest, e.At.UnixMilli())
	effect, err := s.plan(e)
	if err != nil {
		return err
	}
	if effect != nil {
		effect()
	}
	return nil
}

// Check says what [State.Apply] would, and applies nothing: the gateway asks
// before it appends.
func (s *State) Check(e Event) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, err := s.plan(e)
	return err
}

// plan verifies an entry and returns its effect. It changes nothing.
func (s *State) plan(e Event) (effect func(), err error) {
	switch e.Kind {
	case KindSignIn:
		effect, err = s.planSignIn(e)
	case KindSignOut:
		effect, err = s.planSignOut(e)
	case KindEnrol:
		effect, err = s.planEnrol(e)
	case KindGrant:
		effect, err = s.planGrant(e)
	case KindWithdraw:
		effect, err = s.planWithdraw(e)
	case KindRelation:
		effect, err = s.planRelation(e)
	default:
		return nil, nil
	}
	if s.bad != nil {
		err = s.bad
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", e.Kind, ErrRefused, err)
	}
	return effect, nil
}

// about checks that the entry stands in the history of whom its statement is
// about: elsewhere that patient would never see it.
func about(e Event, patient string) error {
	if e.Patient != patient {
		return fmt.Errorf("the entry is %q's, the statement %q's", clip(e.Patient), clip(patient))
	}
	return nil
}

// planGrant wants a valid statement, signed by the patient's enrolled key, or
// by a registered signer for the layers above consent.
func (s *State) planGrant(e Event) (func(), error) {
	st, err := DecodeSignedGrant(e.Statement)
	if err != nil {
		return nil, err
	}
	g := st.Grant
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := about(e, g.Patient); err != nil {
		return nil, err
	}
	if _, twice := s.statements.byID[g.ID]; twice {
		return nil, fmt.Errorf("%s is there already", g.ID)
	}
	if g.Effect == EffectPermit && g.Time.Exp != 0 && g.Time.Exp <= e.At.UnixMilli() {
		return nil, errors.New("it has ended before it is recorded")
	}
	digest := g.Digest()
	if err := s.verifySigner(g, st.Signer, GrantMessage(digest), st.Signature); err != nil {
		return nil, err
	}
	replaced, err := s.replaced(g)
	if err != nil {
		return nil, err
	}
	now := e.At.UnixMilli()
	if err := s.statements.room(g, replaced, now); err != nil {
		return nil, err
	}
	grave, withdrawn := s.buried(g, digest)
	r := &record{grant: g, digest: digest, index: e.Index, withdrawn: withdrawn, provision: compile(g, terms())}
	return func() {
		s.tombstones.take(grave)
		s.statements.add(r, now)
		for _, old := range replaced {
			s.statements.withdraw(old, now, g.ID)
		}
	}, nil
}

// signerKinds are the registered signers who sign for a layer; nil where the
// patient does.
func signerKinds(layer string) []string {
	switch layer {
	case LayerLegal:
		return []string{SignerGovernance, SignerPrivacy}
	case LayerOrg:
		return []string{SignerPrivacy, SignerPolicyAdmin}
	}
	return nil
}

// verifySigner checks the signature of whoever may sign for the layer.
func (s *State) verifySigner(g Grant, signer string, message, signature []byte) error {
	if kinds := signerKinds(g.Layer); kinds != nil {
		return s.verifyRegistered(signer, message, signature, kinds...)
	}
	if signer != "" {
		return errors.New("patients sign for themselves")
	}
	return s.people.verify(g.Patient, message, signature)
}

// replaced finds what a statement names as replaced: statements of the same
// patient that the same hand may sign.
func (s *State) replaced(g Grant) ([]*record, error) {
	var out []*record
	for _, id := range g.Replaces {
		old := s.statements.byID[id]
		switch {
		case old == nil || old.grant.Patient != g.Patient || hand(old.grant.Layer) != hand(g.Layer):
			return nil, fmt.Errorf("%s is not there to be replaced", clip(id))
		case old.withdrawn != 0:
			return nil, fmt.Errorf("%s was withdrawn or replaced already", clip(id))
		}
		out = append(out, old)
	}
	return out, nil
}

// hand is who signs for a layer.
func hand(layer string) string {
	if layer == LayerGrant {
		return LayerConsent
	}
	return layer
}

// planRelation wants a registered ADT system's signature, or those of two
// enrolled members of staff whom the relation does not serve. What came last is
// told by Issued, so that an old statement cannot be brought back.
func (s *State) planRelation(e Event) (func(), error) {
	st, err := DecodeSignedRelation(e.Statement)
	if err != nil {
		return nil, err
	}
	r := st.Relation
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := about(e, r.Patient); err != nil {
		return nil, err
	}
	if r.Issued > e.At.Add(maxSkew).UnixMilli() {
		return nil, errors.New("issued in the future")
	}
	if old, known := s.relations.byID[r.ID]; known {
		same := r
		same.From, same.Until, same.Issued = old.From, old.Until, old.Issued
		if same != old || r.Issued <= old.Issued {
			return nil, fmt.Errorf("%s is there already, as another or a later one", r.ID)
		}
	}
	if err := s.verifyRelation(r, st.Signatures, e.At); err != nil {
		return nil, err
	}
	vouched := lo.Map(st.Signatures, func(sig Signature, _ int) string { return sig.Signer })
	return func() { s.relations.put(r, vouched) }, nil
}

func (s *State) verifyRelation(r Relation, signatures []Signature, at time.Time) error {
	message := RelationMessage(r.Digest())
	if len(signatures) == 1 {
		if err := r.lasts(MaxRelation); err != nil {
			return err
		}
		return s.verifyRegistered(signatures[0].Signer, message, signatures[0].Value, SignerADT)
	}
	if len(signatures) != 2 || signatures[0].Signer == signatures[1].Signer {
		return errors.New("want an ADT system's signature, or those of two members of staff")
	}
	if err := r.lasts(MaxVouchedRelation); err != nil {
		return err
	}
	for _, sig := range signatures {
		if !isRef(sig.Signer, "Practitioner") || s.relations.serves(r, sig.Signer, at.UnixMilli()) {
			return fmt.Errorf("%s may not vouch for this", clip(sig.Signer))
		}
		if err := s.people.verify(sig.Signer, message, sig.Value); err != nil {
			return err
		}
	}
	return nil
}

// verifyRegistered checks a registered signer's signature.
func (s *State) verifyRegistered(signer string, message, signature []byte, kinds ...string) error {
	key, ok := s.trust.signer(signer, kinds...)
	if !ok {
		return fmt.Errorf("%q is no registered %s", clip(signer), strings.Join(kinds, " or "))
	}
	return verifySignature(signer, key, message, signature)
}

// planEnrol makes a key a person's. A key belongs to one person for good: one
// that was replaced never comes back, so that no old statement can bring it.
func (s *State) planEnrol(e Event) (func(), error) {
	st, err := DecodeEnrolment(e.Statement)
	if err != nil {
		return nil, err
	}
	if !isRef(st.Person, "Patient", "Practitioner", "RelatedPerson") {
		return nil, fmt.Errorf("person %q", clip(st.Person))
	}
	if isRef(st.Person, "Patient") {
		if err := about(e, st.Person); err != nil && e.Patient != "" {
			return nil, err
		}
	}
	if err := s.people.mayUse(st.Key); err != nil {
		return nil, err
	}
	if err := s.enrolmentEvidence(st, e.At); err != nil {
		return nil, err
	}
	if _, known := s.people.keys[st.Person]; known {
		if err := s.people.verify(st.Person, EnrolMessage(st.Digest()), st.Previous); err != nil {
			return nil, fmt.Errorf("replacing a key needs the old one: %w", err)
		}
	} else if st.Previous != nil {
		return nil, errors.New("there is no key to replace")
	}
	return func() { s.people.enrol(st.Person, st.Key) }, nil
}

func (s *State) enrolmentEvidence(st Enrolment, at time.Time) error {
	if st.Token == "" {
		if len(st.Registrars) != 2 || st.Registrars[0].Signer == st.Registrars[1].Signer {
			return errors.New("want an ID token, or two registrars")
		}
		for _, r := range st.Registrars {
			if err := s.verifyRegistered(r.Signer, EnrolMessage(st.Digest()), r.Value, SignerRegistrar); err != nil {
				return err
			}
		}
		return nil
	}
	if st.Registrars != nil {
		return errors.New("an ID token or registrars, not both")
	}
	c, issuer, err := s.trust.verifyIDToken(st.Token, toEnrol, at)
	if err != nil {
		return err
	}
	if c.nonce != EnrolNonce(st.Key) {
		return fmt.Errorf("ID %w: its nonce is not for this key", ErrToken)
	}
	person, _, err := s.trust.person(c, issuer)
	if err != nil {
		return err
	}
	if person != st.Person {
		return fmt.Errorf("ID %w: it is about somebody else", ErrToken)
	}
	return nil
}

// Key returns the enrolled Ed25519 key of a person.
func (s *State) Key(person string) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	key, ok := s.people.keys[person]
	return slices.Clone(key), ok
}
