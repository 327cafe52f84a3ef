package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// sessionID is the shape of a session's public id: at least 128 bits of
// base64url.
var sessionID = regexp.MustCompile(`^[A-Za-z0-9_-]{22,128}$`)

// keepSessions is how long after its end a session is remembered, so that an
// entry decided at its own, earlier time finds it.
const keepSessions = time.Hour

// session is one sign-in.
type session struct {
	subject Subject
	forget  int64 // Unix ms: session and evidence are both past
	out     bool  // signed out
}

// sessions are the sign-ins that may still matter. The lock of the state guards
// it.
type sessions struct {
	byIndex map[uint64]*session
	used    map[string]int64 // session ids and assertions' jti, to when they can be forgotten
	sweep   int64            // when to look for what can be forgotten next
}

func newSessions() sessions {
	return sessions{byIndex: map[uint64]*session{}, used: map[string]int64{}}
}

// Session returns the subject of the sign-in entry at that index; false if
// there is no such sign-in or it has been signed out. Its End may have passed.
func (s *State) Session(index uint64) (Subject, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	one := s.sessions.byIndex[index]
	if one == nil || one.out {
		return Subject{}, false
	}
	subject := one.subject
	subject.Roles = slices.Clone(subject.Roles)
	return subject, true
}

// holds tells whether the session of a subject is one the log established for
// it, and runs at now; and its end. The state's lock is held.
func (s *State) holds(sub *Subject, now int64) (end int64, ok bool) {
	one := s.sessions.byIndex[sub.SignIn]
	if one == nil || one.out || now >= one.subject.End {
		return 0, false
	}
	known := &one.subject
	return known.End, known.ID == sub.ID && known.Client == sub.Client && slices.Equal(known.Roles, sub.Roles)
}

// planSignIn wants evidence that nobody but the issuer, or the client, could
// have made, for this session and no other.
func (s *State) planSignIn(e Event) (func(), error) {
	st, err := DecodeSignIn(e.Statement)
	if err != nil {
		return nil, err
	}
	if e.Index == 0 || s.sessions.byIndex[e.Index] != nil {
		return nil, fmt.Errorf("no place for a sign-in: index %d", e.Index)
	}
	if !sessionID.MatchString(st.Session) {
		return nil, errors.New("session id: want 22 to 128 of A-Z a-z 0-9 _ -")
	}
	if _, used := s.sessions.used[st.Session]; used {
		return nil, errors.New("this session has begun before")
	}
	client, ok := s.trust.Client(st.Client)
	if !ok {
		return nil, fmt.Errorf("client %q is not registered", clip(st.Client))
	}
	evidence := s.idTokenEvidence
	if st.Form == FormClientAssertion {
		evidence = s.assertionEvidence
	} else if st.Form != FormIDToken {
		return nil, fmt.Errorf("form %q", clip(st.Form))
	}
	subject, c, err := evidence(st, client, e.At)
	if err != nil {
		return nil, err
	}
	end := time.UnixMilli(st.End)
	if !end.After(e.At) || end.After(client.MaxEnd(c.issued)) {
		return nil, fmt.Errorf("it would end at %s, outside what %s may have", end.UTC().Format(time.RFC3339), client.ID)
	}
	if e.Actor != "" && e.Actor != subject.ID {
		return nil, errors.New("the entry names another actor")
	}
	subject.SignIn = e.Index
	forget := max(st.End, c.expires.UnixMilli()) + keepSessions.Milliseconds()
	return func() {
		s.sessions.forget(s.latest)
		s.sessions.byIndex[e.Index] = &session{subject: subject, forget: forget}
		s.sessions.used[st.Session] = forget
		if c.id != "" && st.Form == FormClientAssertion {
			s.sessions.used[jtiKey(client.ID, c.id)] = forget
		}
	}, nil
}

func jtiKey(client, jti string) string { return client + "\x00" + jti }

// idTokenEvidence: somebody signed in with an identity provider, and meant this
// session: the nonce says so.
func (s *State) idTokenEvidence(st SignIn, client Client, at time.Time) (Subject, claims, error) {
	if client.Kind != ClientUser {
		return Subject{}, claims{}, errors.New("nobody signs in to a system client")
	}
	c, issuer, err := s.trust.verifyIDToken(st.Token, toSignIn, at)
	if err != nil {
		return Subject{}, claims{}, err
	}
	if c.nonce != SessionNonce(st.Session, st.Client, st.End) {
		return Subject{}, claims{}, fmt.Errorf("ID %w: its nonce is for another session", ErrToken)
	}
	id, roles, err := s.trust.person(c, issuer)
	if err != nil {
		return Subject{}, claims{}, err
	}
	if err := s.proof(id, c.nonce, st.Signature); err != nil {
		return Subject{}, claims{}, err
	}
	return Subject{ID: id, Roles: roles, Client: client.ID, Session: st.Session, Issuer: c.issuer, Sub: c.subject, End: st.End}, c, nil
}

// proof wants the signature of a patient, or a relative, who has enrolled a key:
// otherwise whoever holds an identity provider's key could read as them. Staff
// need none; one that is there must be theirs.
func (s *State) proof(person, nonce string, signature []byte) error {
	_, enrolled := s.people.keys[person]
	if signature == nil && (!enrolled || isRef(person, "Practitioner")) {
		return nil
	}
	if signature == nil {
		return fmt.Errorf("%w: %s has an enrolled key, and signs in with it", ErrSignature, clip(person))
	}
	return s.people.verify(person, SignInMessage(nonce), signature)
}

// assertionEvidence: a system client signed an assertion, and has not used it
// before.
func (s *State) assertionEvidence(st SignIn, client Client, at time.Time) (Subject, claims, error) {
	if client.Kind != ClientSystem {
		return Subject{}, claims{}, errors.New("people sign in to this client")
	}
	if st.Signature != nil {
		return Subject{}, claims{}, errors.New("a client's assertion is its signature; another means nothing")
	}
	c, err := s.trust.verifyAssertion(st.Token, client, at)
	if err != nil {
		return Subject{}, claims{}, err
	}
	if st.Session != AssertionSession(st.Token) {
		return Subject{}, claims{}, fmt.Errorf("client assertion: %w: it is for another session", ErrToken)
	}
	if _, used := s.sessions.used[jtiKey(client.ID, c.id)]; used {
		return Subject{}, claims{}, fmt.Errorf("client assertion: %w: its jti was used before", ErrToken)
	}
	return Subject{ID: "Client/" + client.ID, Roles: []string{"system"}, Client: client.ID, Session: st.Session, Issuer: client.ID, Sub: client.ID, End: st.End}, c, nil
}

// planSignOut ends a session early. It needs no signature: it takes rights and
// gives none.
func (s *State) planSignOut(e Event) (func(), error) {
	one := s.sessions.byIndex[e.SignIn]
	if one == nil || one.out {
		return nil, fmt.Errorf("no session at %d", e.SignIn)
	}
	if len(e.Statement) != 0 {
		return nil, errors.New("a sign-out has no statement")
	}
	return func() { one.out = true }, nil
}

// forget drops sessions that nothing can ask about any more. It looks at most
// once in keepSessions of the log's time, which keeps it cheap and the same for
// everybody.
func (s *sessions) forget(now int64) {
	if now < s.sweep {
		return
	}
	s.sweep = now + keepSessions.Milliseconds()
	for index, one := range s.byIndex {
		if one.forget <= now {
			delete(s.byIndex, index)
		}
	}
	for id, until := range s.used {
		if until <= now {
			delete(s.used, id)
		}
	}
}
