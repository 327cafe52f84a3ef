// Package custodian holds one share of a committee's key, and judges for itself
// whether to use it.
//
// A [Custodian] keeps its own copy of the log, replays it into its own policy
// state, and has its own clock. A release is answered only if the log entry
// that permits it is on that copy, says exactly what is asked for, and is
// permitted by this custodian's own evaluation of the rules on attributes that
// it opened itself; and only to be shown. It takes the gateway's word for the
// purpose, the scopes and the launch context, which the entry must state as the
// request does, and for nothing else that the decision rests on. What the entry
// says of who asked and why that was permitted must be so, too.
//
// Begin with [Open]; serve [Custodian.Handler] behind mutual TLS; reach it from
// the other side with a [Client].
//
// What it leaves to others: where the share comes from (records/keystore), who
// may connect (the listener's certificates), and all traffic between custodians:
// gossip of checkpoints, withdrawals taken directly, snapshots for those who
// start late. Erased compartments are not known to it yet.
package custodian

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/threshold"
)

// Config is what a [Custodian] needs. Fields are required unless a default is
// named.
type Config struct {
	Index        int                   // its place in the committee, from 1
	Committee    *threshold.Committee  // with k > (n+f)/2
	Share        *threshold.Share      // of that committee and place
	Trust        *policy.Trust         // whose word it takes, fixed here and not by the gateway
	AttributeKey *records.AttributeKey // opens what it decides on
	LogVerifier  note.Verifier         // the log's key
	Origin       string                // the log's; the verifier's name if empty
	Store        chain.Store           // its own copy
	Name         string                // of its cosignatures; "custodian-<index>" if empty
	Signer       ed25519.PrivateKey    // signs cosignatures and answers

	Engine  *policy.Engine        // a new one if nil
	Now     func() time.Time      // its own clock; time.Now if nil
	Log     *slog.Logger          // discarded if nil
	Metrics prometheus.Registerer // unregistered if nil
}

// Custodian is one share holder. It is safe for concurrent use.
type Custodian struct {
	index      int
	committee  *threshold.Committee
	share      *threshold.Share
	attributes *records.AttributeKey
	tenant     string
	replica    *chain.Replica
	state      *policy.State
	engine     *policy.Engine
	name       string
	cosigner   note.Signer
	vkey       string
	signer     ed25519.PrivateKey
	now        func() time.Time
	log        *slog.Logger
	metrics    *metrics

	newest atomic.Int64 // Unix ms, of the latest entry held
}

// Open checks the configuration, refuses a committee in which two histories
// could both be served, and replays the copy of the log that the store holds.
func Open(ctx context.Context, c Config) (*Custodian, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("custodian %d: %w", c.Index, err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Name == "" {
		c.Name = Name(c.Index)
	}
	cosigner, vkey, err := chain.NewCosigner(c.Name, c.Signer, c.Now)
	if err != nil {
		return nil, fmt.Errorf("custodian %d: %w", c.Index, err)
	}
	if c.Engine == nil {
		if c.Engine, err = policy.NewEngine(ctx); err != nil {
			return nil, fmt.Errorf("custodian %d: %w", c.Index, err)
		}
	}
	counters, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("custodian %d: %w", c.Index, err)
	}
	custodian := &Custodian{
		index: c.Index, committee: c.Committee, share: c.Share, attributes: c.AttributeKey, tenant: c.Trust.Tenant,
		state: policy.NewState(c.Trust), engine: c.Engine, name: c.Name, cosigner: cosigner, vkey: vkey, signer: c.Signer,
		now: c.Now, log: c.Log.With(slog.Int("custodian", c.Index)), metrics: counters,
	}
	custodian.replica, err = chain.OpenReplica(ctx, chain.ReplicaConfig{
		Store: c.Store, Verifier: c.LogVerifier, Origin: c.Origin, Now: c.Now, MaxAhead: MaxSkew,
		Accept: accept, Apply: custodian.apply, Log: c.Log, Metrics: c.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("custodian %d: open its copy of the log: %w", c.Index, err)
	}
	return custodian, nil
}

// Name is how a custodian signs when nothing else is configured.
func Name(index int) string { return fmt.Sprintf("custodian-%d", index) }

// VerifierKey is the vkey under which the name and key sign: what the log's
// description lists, and the quorum checks answers by.
func VerifierKey(name string, key ed25519.PrivateKey) (string, error) {
	_, vkey, err := chain.NewCosigner(name, key, nil)
	return vkey, err
}

func (c *Config) validate() error {
	switch {
	case c.Committee == nil || c.Share == nil:
		return errors.New("a committee and a share are required")
	case c.Trust == nil || c.AttributeKey == nil:
		return errors.New("trust and an attribute key are required")
	case c.LogVerifier == nil || c.Store == nil:
		return errors.New("the log's key and a store are required")
	case len(c.Signer) != ed25519.PrivateKeySize:
		return errors.New("a signing key is required")
	}
	if err := c.Trust.Validate(); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	// k > (n+f)/2 is among what Validate checks.
	if err := c.Committee.Validate(); err != nil {
		return err
	}
	if err := c.Share.Fits(c.Committee); err != nil {
		return err
	}
	if c.Share.Index() != c.Index {
		return fmt.Errorf("the share is that of custodian %d", c.Share.Index())
	}
	return nil
}

// Close lets go of the copy of the log. The store is its owner's to close.
func (c *Custodian) Close() error { return c.replica.Close() }

// Index is its place in the committee.
func (c *Custodian) Index() int { return c.index }

// VerifierKey is the vkey of its cosignatures and answers.
func (c *Custodian) VerifierKey() string { return c.vkey }

// errErasure says why a batch with an erasure in it is not followed.
var errErasure = errors.New("nobody may order erasures yet")

// accept refuses erasures: nothing governs them, and a log that could order them
// by itself could rid itself of what it would rather not have on record.
func accept(_ uint64, body *chain.Body) error {
	if body.Kind == chain.Erase {
		return errErasure
	}
	return nil
}

// apply takes an entry into the policy state. An invalid statement has no
// effect; the entry stays, for everybody to see.
func (c *Custodian) apply(index uint64, body *chain.Body) {
	c.newest.Store(body.Time) // never decreases
	if err := c.state.Apply(body.Event(index)); err != nil {
		c.log.Warn("entry has no effect", slog.Uint64("index", index), slog.String("kind", string(body.Kind)), slog.Any("error", err))
	}
}

// Status is what a custodian tells about itself: nothing secret.
type Status struct {
	Index      int    `json:"index"`
	Name       string `json:"name"`
	Key        string `json:"key"` // vkey
	Committee  string `json:"committee"`
	Size       uint64 `json:"size"`       // entries held
	Keys       uint64 `json:"keys"`       // log keys held
	Checkpoint string `json:"checkpoint"` // newest, signed by the log
	Policy     string `json:"policy"`     // digest of the rules, hex
	Time       int64  `json:"time"`       // its own clock, Unix ms
}

// Status reports where it stands.
func (c *Custodian) Status() Status {
	return Status{
		Index: c.index, Name: c.name, Key: c.vkey, Committee: c.committee.ID,
		Size: c.replica.Size(), Keys: c.replica.KeyCount(), Checkpoint: string(c.replica.Checkpoint()),
		Policy: fmt.Sprintf("%x", c.engine.Digest()), Time: c.now().UnixMilli(),
	}
}
