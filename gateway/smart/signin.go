package smart

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// A session's public id is 16 random bytes, the session's begin and end, and a
// MAC over these and the client: what Begin said is in what Complete is given
// back, so that a flood of beginnings costs no memory.
const (
	idRandom = 16
	idTimes  = 16 // two int64 of Unix milliseconds
	idMAC    = 16
)

// skew is taken off the longest session there may be: a session's end is fixed
// before its token is issued, and the token's iat, from which custodians count,
// is in whole seconds of somebody else's clock.
const skew = 5 * time.Second

// issued is the iat that an assertion claims, or now if that is earlier. It is
// not believed: the state verifies the assertion and holds the end against it.
func issued(assertion string, now time.Time) time.Time {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return now
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return now
	}
	var claims struct {
		IAT int64 `json:"iat"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.IAT <= 0 || claims.IAT >= now.Unix() {
		return now
	}
	return time.Unix(claims.IAT, 0)
}

func (s *Sessions) seal(client string, random, times []byte) []byte {
	m := hmac.New(sha256.New, s.key[:])
	m.Write([]byte("wardkey-session-id-v1\x00"))
	m.Write(random)
	m.Write(times)
	m.Write([]byte(client))
	return m.Sum(nil)[:idMAC]
}

// Begin starts a session for a user of the client: the ID token that
// [Sessions.Complete] wants must carry the nonce returned here. ErrClient if
// the client is not registered for users.
func (s *Sessions) Begin(client string) (Start, error) {
	registered, ok := s.c.Trust.Client(client)
	if !ok || registered.Kind != policy.ClientUser {
		return Start{}, ErrClient
	}
	now := s.c.Now()
	end := registered.MaxEnd(now.Add(-skew)).Truncate(time.Millisecond)
	id := make([]byte, idRandom, idRandom+idTimes+idMAC)
	rand.Read(id)
	id = binary.BigEndian.AppendUint64(id, uint64(now.UnixMilli()))
	id = binary.BigEndian.AppendUint64(id, uint64(end.UnixMilli()))
	id = append(id, s.seal(client, id[:idRandom], id[idRandom:])...)
	session := base64.RawURLEncoding.EncodeToString(id)
	return Start{Session: session, Nonce: policy.SessionNonce(session, client, end.UnixMilli()), End: end}, nil
}

// end reads back from the session's id when it was to end.
func (s *Sessions) end(session, client string) (int64, error) {
	id, err := base64.RawURLEncoding.Strict().DecodeString(session)
	if err != nil || len(id) != idRandom+idTimes+idMAC {
		return 0, fmt.Errorf("%w: no session of ours", ErrSignIn)
	}
	random, times, mac := id[:idRandom], id[idRandom:idRandom+idTimes], id[idRandom+idTimes:]
	if !hmac.Equal(mac, s.seal(client, random, times)) {
		return 0, fmt.Errorf("%w: no session of ours for this client", ErrSignIn)
	}
	begun := time.UnixMilli(int64(binary.BigEndian.Uint64(times)))
	if s.c.Now().Sub(begun) > s.c.Begun {
		return 0, fmt.Errorf("%w: the session was begun too long ago", ErrSignIn)
	}
	return int64(binary.BigEndian.Uint64(times[8:])), nil
}

// Complete ends a sign-in that Begin started: it has the ID token checked by
// the log's state, appends the sign-in, waits until enough custodians hold it,
// and returns an access token with its session. The scopes are those asked for
// that the client is registered with; all of them if none is asked for.
//
// The signature is by the key that a patient is enrolled with, over
// [policy.SignInMessage] of the nonce; nil for everybody else. Whether one is
// needed is the state's to say, as it is whether this is it.
//
// Errors: ErrClient, ErrSignIn (the state says why), ErrScope, ErrPending (the
// entry is in the log, too few custodians have it; sign in again), ErrTooMany,
// and those of the log.
func (s *Sessions) Complete(ctx context.Context, client, session, idToken string, scope []string, signature []byte) (string, *Session, error) {
	registered, ok := s.c.Trust.Client(client)
	if !ok || registered.Kind != policy.ClientUser {
		return "", nil, ErrClient
	}
	end, err := s.end(session, client)
	if err != nil {
		return "", nil, err
	}
	return s.signIn(ctx, registered, policy.SignIn{
		Session: session, Client: client, End: end, Token: idToken, Form: policy.FormIDToken, Signature: signature,
	}, scope)
}

// Assert signs a backend client in by its assertion (RFC 7523), in one step.
// Errors are as for [Sessions.Complete].
func (s *Sessions) Assert(ctx context.Context, client, assertion string, scope []string) (string, *Session, error) {
	registered, ok := s.c.Trust.Client(client)
	if !ok || registered.Kind != policy.ClientSystem {
		return "", nil, ErrClient
	}
	end := registered.MaxEnd(issued(assertion, s.c.Now()).Add(-skew))
	return s.signIn(ctx, registered, policy.SignIn{
		Session: policy.AssertionSession(assertion), Client: client, End: end.UnixMilli(), Token: assertion, Form: policy.FormClientAssertion,
	}, scope)
}

// signIn is the one way to an access token.
func (s *Sessions) signIn(ctx context.Context, registered policy.Client, in policy.SignIn, wanted []string) (string, *Session, error) {
	scope, scopes, err := grantScope(registered, wanted)
	if err != nil {
		return "", nil, err
	}
	// Whose the sign-in is, the evidence says; until it is verified nobody does.
	entry := chain.Entry{Kind: chain.SignIn, Client: registered.ID, Session: in.Session, Statement: in.Encode()}
	if in.Form == policy.FormClientAssertion {
		entry.Actor = "Client/" + registered.ID
	}
	// Asked before it is appended: a token that no custodian would believe has
	// no business in the log, and anybody may send one.
	if err := s.c.State.Check(policy.Event{
		Index: math.MaxInt64, At: s.c.Now(), Kind: string(chain.SignIn), Actor: entry.Actor, Statement: entry.Statement,
	}); err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrSignIn, err)
	}
	receipts, err := s.c.Log.Append(ctx, entry)
	if err != nil {
		return "", nil, fmt.Errorf("log sign-in: %w", err)
	}
	index := receipts[0].Index
	subject, ok := s.c.State.Session(index)
	if !ok {
		// Another sign-in by the same token got into the log between Check and here.
		return "", nil, fmt.Errorf("%w: entry %d has no effect", ErrSignIn, index)
	}
	ctx, cancel := context.WithTimeout(ctx, s.c.Confirm)
	defer cancel()
	if err := s.c.Quorum.Cosigned(ctx, index); err != nil {
		return "", nil, fmt.Errorf("%w: entry %d: %w", ErrPending, index, err)
	}
	purposes, def := s.c.Trust.Purposes(registered.ID, subject.Roles)
	session := &Session{
		Subject: subject, Scopes: scopes, Scope: scope, Purposes: purposes, Default: def, End: time.UnixMilli(subject.End),
	}
	token, err := s.keep(session)
	if err != nil {
		return "", nil, err
	}
	s.c.Logger.InfoContext(ctx, "signed in", slog.Uint64("entry", index), slog.String("client", registered.ID))
	return token, session, nil
}
