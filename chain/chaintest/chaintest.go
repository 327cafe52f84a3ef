// Package chaintest has a store with bad days, and logs to test with.
//
// Begin with [New] for a log in memory and its custodians' keys, or with
// [Setup.Open] for one in a store of the test's own. It is for tests alone: its
// keys come from names.
package chaintest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
)

// Origin is that of the logs made here.
const Origin = "log.example/ward"

// Setup has the keys of a log and of its custodians.
type Setup struct {
	Signer    note.Signer
	Verifier  note.Verifier
	Key       string        // the log's vkey
	Cosigners []note.Signer // the custodians'
	Vkeys     []string      // of the custodians
	Now       func() time.Time
}

// NewSetup makes keys for a log and n custodians; the same name, the same keys.
func NewSetup(t testing.TB, name string, n int) *Setup {
	t.Helper()
	skey, vkey := logKeys(name)
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	s := &Setup{Signer: signer, Verifier: verifier, Key: vkey, Now: time.Now}
	for i := range n {
		seed := sha256.Sum256(fmt.Appendf(nil, "%s custodian %d", name, i+1))
		c, vkey, err := chain.NewCosigner(fmt.Sprintf("custodian-%d.example", i+1), ed25519.NewKeyFromSeed(seed[:]), func() time.Time { return s.Now() })
		if err != nil {
			t.Fatal(err)
		}
		s.Cosigners, s.Vkeys = append(s.Cosigners, c), append(s.Vkeys, vkey)
	}
	return s
}

// logKeys makes a signed-note key pair of a name, of type 0x01 (Ed25519).
func logKeys(name string) (skey, vkey string) {
	seed := sha256.Sum256([]byte(name))
	private := append([]byte{1}, seed[:]...)
	public := append([]byte{1}, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(Origin+"\n"), public...))
	hash := binary.BigEndian.Uint32(sum[:])
	skey = fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", Origin, hash, base64.StdEncoding.EncodeToString(private))
	vkey = fmt.Sprintf("%s+%08x+%s", Origin, hash, base64.StdEncoding.EncodeToString(public))
	return skey, vkey
}

// Config is what the log is opened with.
func (s *Setup) Config(store chain.Store) chain.Config {
	return chain.Config{
		Store: store, Signer: s.Signer, Origin: Origin, Key: s.Key, Cosigners: s.Vkeys,
		Now: func() time.Time { return s.Now() }, PublishEvery: time.Hour,
	}
}

// Open opens the log in a store. It is closed at the end of the test.
func (s *Setup) Open(t testing.TB, store chain.Store) *chain.Log {
	t.Helper()
	l, err := chain.Open(context.Background(), s.Config(store))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Replica opens a custodian's copy. It is closed at the end of the test.
func (s *Setup) Replica(t testing.TB, store chain.Store) *chain.Replica {
	t.Helper()
	r, err := chain.OpenReplica(context.Background(), chain.ReplicaConfig{Store: store, Verifier: s.Verifier, Now: func() time.Time { return s.Now() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// New returns a new log in memory and its keys, with no custodians.
func New(t testing.TB) (*chain.Log, *Store, *Setup) {
	t.Helper()
	store, s := NewStore(), NewSetup(t, t.Name(), 0)
	return s.Open(t, store), store, s
}

// Entry is an access to a patient's record.
func Entry(patient string) chain.Entry {
	digest := sha256.Sum256([]byte(patient))
	return chain.Entry{
		Kind: chain.Access, Actor: "Practitioner/7", Role: "doctor", Patient: patient, Action: "read", Purpose: "TREAT",
		Decision: "permit", Reason: "consented", Resources: []chain.Resource{{Type: "Observation", ID: "o-1", Revision: 1, Digest: digest[:]}},
	}
}

// Append enters entries and fails the test where the log does not take them.
func Append(t testing.TB, l *chain.Log, entries ...chain.Entry) []chain.Receipt {
	t.Helper()
	receipts, err := l.Append(context.Background(), entries...)
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

// Fill enters n entries about a few patients, in batches of several sizes.
func Fill(t testing.TB, l *chain.Log, n int) {
	t.Helper()
	for i, size := 0, 1; i < n; size = size%7 + 1 {
		var entries []chain.Entry
		for range min(size, n-i) {
			entry := Entry(fmt.Sprintf("Patient/p-%d", i%5))
			if i%5 == 0 {
				entry.Patient = ""
			}
			entry.Correlation = fmt.Sprintf("request-%d", i)
			entries = append(entries, entry)
			i++
		}
		Append(t, l, entries...)
	}
}

// Follow brings a replica to the log's end.
func Follow(t testing.TB, l *chain.Log, r *chain.Replica) {
	t.Helper()
	for r.Size() < l.Size() {
		b, err := l.Batch(context.Background(), r.Size(), 0)
		if err != nil {
			t.Fatal(err)
		}
		from := r.KeyCount()
		if err := r.Extend(context.Background(), l.Keys(from), from, b); err != nil {
			t.Fatal(err)
		}
	}
}

// Cosign has custodians 1 … n sign the log's newest checkpoint, and publishes it.
func (s *Setup) Cosign(t testing.TB, l *chain.Log, n int) {
	t.Helper()
	checkpoint := l.Checkpoint()
	for _, c := range s.Cosigners[:n] {
		line, err := chain.Cosign(checkpoint, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Cosign(checkpoint, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
}
