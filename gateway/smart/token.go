package smart

import (
	"container/heap"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/wardkey/wardkey/chain"
)

// tokenBytes of randomness make an access token: 256 bits, so that the table of
// hashes can be looked up by an attacker's guesses for ever.
const tokenBytes = 32

var tokenLength = base64.RawURLEncoding.EncodedLen(tokenBytes)

// hash is what is kept of a token; false for what cannot be one. It looks at
// the length first: a token of a megabyte costs nothing.
func hash(token string) ([sha256.Size]byte, bool) {
	if len(token) != tokenLength {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256([]byte(token)), true
}

// keep files a session under a new token.
func (s *Sessions) keep(session *Session) (string, error) {
	var raw [tokenBytes]byte
	rand.Read(raw[:])
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	h, _ := hash(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	if len(s.live) >= s.c.Sessions {
		return "", ErrTooMany
	}
	s.live[h] = session
	heap.Push(&s.ending, ending{session.Subject.End, h})
	return token, nil
}

// sweep forgets what has ended. s.mu is held.
func (s *Sessions) sweep() {
	now := s.c.Now().UnixMilli()
	for len(s.ending) > 0 && s.ending[0].at <= now {
		delete(s.live, heap.Pop(&s.ending).(ending).token)
	}
}

// Token returns the session of an access token. Every fault, malformed, unknown,
// ended or signed out, is ErrToken, and costs one hash and one look-up.
func (s *Sessions) Token(bearer string) (*Session, error) {
	h, ok := hash(bearer)
	if !ok {
		return nil, ErrToken
	}
	s.mu.Lock()
	session, ok := s.live[h]
	s.mu.Unlock()
	if !ok || !s.c.Now().Before(session.End) {
		return nil, ErrToken
	}
	// The log has the last word: a sign-out may have come by another way.
	if _, ok := s.c.State.Session(session.Subject.SignIn); !ok {
		return nil, ErrToken
	}
	return session, nil
}

// Revoke signs the token's session out: the token stops working at once, here,
// and the sign-out goes into the log so that the custodians stop too. Nothing
// is done, and no error returned, for a token that is not live (RFC 7009 §2.2).
// The error is the log's; the token has stopped working regardless.
func (s *Sessions) Revoke(ctx context.Context, bearer string) error {
	session, err := s.Token(bearer)
	if err != nil {
		return nil
	}
	h, _ := hash(bearer)
	s.mu.Lock()
	delete(s.live, h)
	s.mu.Unlock()
	sub := session.Subject
	if _, err := s.c.Log.Append(ctx, chain.Entry{
		Kind: chain.SignOut, Actor: sub.ID, SignIn: sub.SignIn, Client: sub.Client, Session: sub.Session,
	}); err != nil {
		return fmt.Errorf("log sign-out: %w", err)
	}
	return nil
}

// ending is when a token's session ends.
type ending struct {
	at    int64 // Unix ms
	token [sha256.Size]byte
}

// endings is a heap, the earliest first.
type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }

// Push and Pop are container/heap's.
func (e *endings) Push(x any) { *e = append(*e, x.(ending)) }

// Pop removes the last.
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
