// Package smart keeps who is signed in.
//
// A session begins with a nonce that binds its id, its client and its end
// ([Sessions.Begin]); an identity provider signs that nonce into an ID token;
// [Sessions.Complete] has the token checked, writes the sign-in into the log,
// waits until enough custodians hold it, and gives out an opaque access token.
// Backend clients do it in one step with a signed assertion ([Sessions.Assert]).
// [Sessions.Token] turns the access token back into its [Session].
//
// Who somebody is comes from the log's own state, that is, from the identity
// provider's signature as every custodian checks it; this package adds the token
// and the scopes. Access tokens are 256 random bits of which only a SHA-256 is
// kept, in memory: a restart signs everybody out, and no store of tokens can be
// stolen.
//
// It leaves to others what a token may do with a record (policy), and the
// authorization endpoint, launch contexts and refresh tokens of SMART App Launch
// altogether: the exchange of an ID token (RFC 8693) and client_credentials with
// private_key_jwt (RFC 7523) are the two ways in.
package smart

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// Errors on which callers branch. ErrToken is the same for every fault of an
// access token, so that nothing is learnt from trying.
var (
	ErrToken   = errors.New("no such access token")
	ErrClient  = errors.New("unknown client, or not of the kind this needs")
	ErrSignIn  = errors.New("sign-in refused")
	ErrScope   = errors.New("scope refused")
	ErrPending = errors.New("signed in, and not yet confirmed by enough custodians")
	ErrTooMany = errors.New("too many sessions")
)

// Log is what is needed of the chain.
type Log interface {
	Append(ctx context.Context, entries ...chain.Entry) ([]chain.Receipt, error)
}

// Quorum tells when enough custodians hold an entry.
type Quorum interface {
	Cosigned(ctx context.Context, index uint64) error
}

// Config is what [New] needs. Trust, State, Log and Quorum are required.
type Config struct {
	Trust  *policy.Trust
	State  *policy.State
	Log    Log
	Quorum Quorum

	Begun    time.Duration // how long a sign-in may take from Begin to Complete; 10 minutes if zero
	Confirm  time.Duration // how long to wait for custodians to hold a sign-in; 2.2 seconds if zero
	Sessions int           // how many may be live at once; 100,000 if zero
	Now      func() time.Time
	Logger   *slog.Logger // discarded if nil
}

// Start is a session that waits for its ID token.
type Start struct {
	Session string    // its public id
	Nonce   string    // what the ID token's nonce must be
	End     time.Time // when the session will end, whatever happens
}

// Session is who an access token stands for, and what with. It is shared:
// nothing in it is to be modified.
type Session struct {
	Subject  policy.Subject
	Scopes   policy.Scopes
	Scope    []string // the same, as text, in the order granted
	Purposes []string // short codes that requests may state
	Default  string   // the purpose of a request that states none; "" for none
	End      time.Time
}

// Patient is the id of the signed-in patient, "" for everybody else.
func (s *Session) Patient() string {
	id, _ := strings.CutPrefix(s.Subject.ID, "Patient/")
	if id == s.Subject.ID {
		return ""
	}
	return id
}

// Sessions are the sessions of one gateway. Methods may be called concurrently.
type Sessions struct {
	c   Config
	key [32]byte // authenticates the ids that Begin gives out, so that none need be kept

	mu     sync.Mutex // guards live and ending
	live   map[[32]byte]*Session
	ending endings
}

// New returns an empty set of sessions.
func New(c Config) (*Sessions, error) {
	if c.Trust == nil || c.State == nil || c.Log == nil || c.Quorum == nil {
		return nil, errors.New("sessions: trust, state, log and quorum are required")
	}
	if c.Begun < 0 || c.Confirm < 0 || c.Sessions < 0 {
		return nil, errors.New("sessions: a negative limit")
	}
	c.Begun = lo.CoalesceOrEmpty(c.Begun, 10*time.Minute)
	c.Confirm = lo.CoalesceOrEmpty(c.Confirm, 2200*time.Millisecond)
	c.Sessions = lo.CoalesceOrEmpty(c.Sessions, 100_000)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sessions{c: c, live: map[[32]byte]*Session{}}
	rand.Read(s.key[:])
	return s, nil
}
