// Package recordstest is a hospital to test with: a log, people, a committee of
// real custodians with bad days, and the quorum that asks them.
//
//	h := recordstest.New(t, recordstest.Options{})
//	doctor := h.SignIn("Practitioner/d1", "doctor")
//	h.Enrol("Patient/p1")
//	h.Grant(policy.GrantRequest{Patient: "Patient/p1", …})
//	envelope := h.Seal(resource)
//	opened, err := h.Read(ctx, doctor, "TREAT", envelope)
//
// [Hospital.Read] is a gateway without a policy of its own: it logs a permit
// for whatever it is asked, so that what it does not get is what the custodians
// refused. Custodians sleep, hang, lie, stop and start: see [Custodian].
//
// Failures of the hospital itself end the test; what is under test comes back
// as an error. Everything is closed when the test ends.
package recordstest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/samber/lo"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/disk"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

// Options change the hospital from what it usually is.
type Options struct {
	N, K, F int                         // of the committee; 4, 3, 1 if zero
	Disk    bool                        // logs are kept in Dir, rather than in memory
	Dir     string                      // t.TempDir() if empty
	Trust   func(*policy.Trust)         // edits the trust before anybody has it
	Quorum  func(*records.QuorumConfig) // edits the quorum's configuration
	Log     func(*chain.Config)         // edits the log's configuration
	LogKey  *LogKey                     // of the log; a new one if nil

	Custodian func(*custodian.Config) // edits each custodian's configuration
}

// LogKey signs a log. Whoever has another hospital's can fork its log.
type LogKey struct {
	Signer note.Signer
	Vkey   string
}

// Hospital is a whole installation but for the gateway and the store.
type Hospital struct {
	T          testing.TB
	Dir        string // of what is on disk
	Clock      *Clock // of log and quorum, and what the custodians' clocks are set by
	Trust      *policy.Trust
	Engine     *policy.Engine
	State      *policy.State // what the log's entries define
	Log        *chain.Log
	LogKey     *LogKey
	Verifier   note.Verifier // of the log's key
	Committee  *threshold.Committee
	Attributes *records.AttributeKey
	Sealer     *records.Sealer
	Quorum     *records.Quorum
	Custodians []*Custodian // custodian i is Custodians[i-1]
	Issuer     *Issuer      // the identity provider
	ADT        ed25519.PrivateKey
	Registrars []ed25519.PrivateKey // two: "registrar-1" and "registrar-2"

	lies chan *records.CustodianError
	mu   sync.Mutex // guards keys
	keys map[string]ed25519.PrivateKey
}

// Tenant is the hospital's name.
const Tenant = "hospital.example"

// New opens a hospital, which closes when the test ends.
func New(t testing.TB, o Options) *Hospital {
	t.Helper()
	if o.N == 0 {
		o.N, o.K, o.F = 4, 3, 1
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	h := &Hospital{T: t, Dir: o.Dir, Clock: NewClock(), lies: make(chan *records.CustodianError, 64), keys: map[string]ed25519.PrivateKey{}}
	h.trust(o)
	ctx := context.Background()
	h.Engine = must(policy.NewEngine(ctx))(t)
	h.Attributes = must(records.NewAttributeKey())(t)
	committee, shares, err := dkg.Deal("custodians-1", o.N, o.K, o.F)
	check(t, err)
	h.Committee = committee
	h.Sealer = must(records.NewSealer(records.SealerConfig{Tenant: Tenant, Committee: committee, Attributes: h.Attributes}))(t)

	h.openLog(ctx, o, lo.Times(o.N, func(i int) string { return h.newCustodian(i+1, shares[i], o) }))
	for _, c := range h.Custodians {
		c.Start()
	}
	h.openQuorum(o)
	return h
}

func (h *Hospital) openLog(ctx context.Context, o Options, cosigners []string) {
	h.T.Helper()
	origin := Tenant + "/log"
	h.LogKey = o.LogKey
	if h.LogKey == nil {
		skey, vkey, err := note.GenerateKey(rand.Reader, origin)
		check(h.T, err)
		h.LogKey = &LogKey{Signer: must(note.NewSigner(skey))(h.T), Vkey: vkey}
	}
	h.Verifier = must(note.NewVerifier(h.LogKey.Vkey))(h.T)
	h.State = policy.NewState(h.Trust)
	store := h.store("log", o)
	config := chain.Config{
		Store: store, Signer: h.LogKey.Signer, Origin: origin, Key: h.LogKey.Vkey, Cosigners: cosigners, Now: h.Clock.Now,
		Genesis: chain.Entry{Kind: chain.Key},
		Apply:   func(index uint64, body *chain.Body) { _ = h.State.Apply(body.Event(index)) }, // refused ones are on the log all the same
	}
	if o.Log != nil {
		o.Log(&config)
	}
	h.Log = must(chain.Open(ctx, config))(h.T)
	h.T.Cleanup(func() { check(h.T, h.Log.Close()) })
}

func (h *Hospital) openQuorum(o Options) {
	h.T.Helper()
	config := records.QuorumConfig{
		Committee:  h.Committee,
		Custodians: lo.Map(h.Custodians, func(c *Custodian, _ int) records.Custodian { return c }),
		Keys:       lo.SliceToMap(h.Custodians, func(c *Custodian) (int, string) { return c.index, c.vkey }),
		Source:     h.Log, Now: h.Clock.Now,
		Alert: func(lie *records.CustodianError) { h.lies <- lie },
	}
	if o.Quorum != nil {
		o.Quorum(&config)
	}
	h.Quorum = must(records.NewQuorum(config))(h.T)
	h.T.Cleanup(func() { check(h.T, h.Quorum.Close()) })
}

// newCustodian makes the fake of one custodian, stopped, and returns its key.
func (h *Hospital) newCustodian(index int, share *threshold.Share, o Options) string {
	h.T.Helper()
	_, signer, err := ed25519.GenerateKey(rand.Reader)
	check(h.T, err)
	c := &Custodian{
		h: h, index: index, signer: signer, Clock: h.Clock.Follower(),
		vkey: must(custodian.VerifierKey(custodian.Name(index), signer))(h.T),
	}
	c.config = func() custodian.Config {
		config := custodian.Config{
			Index: index, Committee: h.Committee, Share: share, Trust: h.Trust, AttributeKey: h.Attributes,
			LogVerifier: h.Verifier, Store: c.store, Signer: signer, Engine: h.Engine, Now: c.Clock.Now,
		}
		if o.Custodian != nil {
			o.Custodian(&config)
		}
		return config
	}
	c.store = h.store(fmt.Sprintf("custodian-%d", index), o)
	h.Custodians = append(h.Custodians, c)
	return c.vkey
}

func (h *Hospital) store(name string, o Options) chain.Store {
	h.T.Helper()
	if !o.Disk {
		return chaintest.NewStore()
	}
	store, err := disk.Open(disk.Config{Dir: filepath.Join(o.Dir, name)})
	check(h.T, err)
	h.T.Cleanup(func() { check(h.T, store.Close()) })
	return store
}

// Lie returns the next custodian that was named a liar; it fails the test, and
// returns the zero error, when none is. It may be called from any goroutine.
func (h *Hospital) Lie() *records.CustodianError {
	h.T.Helper()
	select {
	case lie := <-h.lies:
		return lie
	case <-time.After(30 * time.Second):
		h.T.Error("no custodian was named a liar")
		return &records.CustodianError{}
	}
}

// NoLie fails the test if a custodian was named a liar.
func (h *Hospital) NoLie() {
	h.T.Helper()
	select {
	case lie := <-h.lies:
		h.T.Fatalf("custodian %d was named a liar: %v", lie.Custodian, lie.Err)
	default:
	}
}

// Eventually waits for what custodians that come back, or follow by themselves,
// bring about.
func (h *Hospital) Eventually(ok func() bool) {
	h.T.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.T.Fatal("it did not come about")
		}
	}
}

// Clock is a clock that can be set. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex // guards offset
	offset time.Duration
	of     *Clock // nil: the machine's
}

// NewClock goes as the machine's does, until it is moved.
func NewClock() *Clock { return &Clock{} }

// Follower goes as c does, until it is moved itself.
func (c *Clock) Follower() *Clock { return &Clock{of: c} }

// Now reads the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	offset := c.offset
	c.mu.Unlock()
	if c.of != nil {
		return c.of.Now().Add(offset)
	}
	return time.Now().Add(offset)
}

// Move sets the clock forward, or back.
func (c *Clock) Move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += by
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return v
	}
}
