package chain_test

import (
	"errors"
	"testing"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

// A replica's owner has rules of its own: an entry against them is not kept, nor
// is anything that came with it.
func TestAReplicaKeepsNothingThatItsOwnerDoesNotAccept(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	l, store := s.Open(t, chaintest.NewStore()), chaintest.NewStore()
	unwanted := errors.New("unwanted")
	r, err := chain.OpenReplica(t.Context(), chain.ReplicaConfig{
		Store: store, Verifier: s.Verifier,
		Accept: func(_ uint64, b *chain.Body) error {
			if b.Kind == chain.Erase {
				return unwanted
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	chaintest.Follow(t, l, r)
	size, keys := r.Size(), r.KeyCount()
	chaintest.Append(t, l, chaintest.Entry("Patient/b"), chain.Entry{Kind: chain.Erase, Patient: "Patient/a"}, chaintest.Entry("Patient/a"))
	err = extend(t.Context(), l, r, next(t, l, size, 0))
	refused, ok := errors.AsType[*chain.RecordError](err)
	if !ok || refused.Index != size+1 || !errors.Is(err, unwanted) {
		t.Errorf("Extend() = %v", err)
	}
	if r.Size() != size || r.KeyCount() != keys || store.Size() != size {
		t.Errorf("it went from %d entries and %d keys to %d and %d", size, keys, r.Size(), r.KeyCount())
	}
}
