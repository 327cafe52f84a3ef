package records

import (
	"crypto/hpke"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records/threshold"
)

// MaxLifetime is how far a request's not-after may lie behind its entry.
const MaxLifetime = 30 * time.Second

// Asking says for whom and for what envelopes are to be opened. The entry that
// will permit it must say the same in the same words, scopes in their order.
type Asking struct {
	SignIn  uint64 // index of the sign-in entry of the session
	Action  string
	Purpose string
	Scopes  []string
	Context string // launch context "Patient/…", if any
}

// Opening is a request that has not been logged yet, with the one-time key that
// alone reads its answers. It serves one entry and is not kept.
type Opening struct {
	envelopes   []*Envelope
	ciphertexts []threshold.Ciphertext
	labels      [][]byte // of the leaves
	items       []Item
	encoded     []byte // Q
	hash        [32]byte
	reader      hpke.PrivateKey
}

// Prepare makes the request Q for the envelopes and draws its reader key.
// Nothing leaves the process. The caller logs [Opening.Hash] and
// [Opening.Resources] in one entry, and then calls [Quorum.Open].
func (q *Quorum) Prepare(a Asking, envelopes []*Envelope) (*Opening, error) {
	if len(envelopes) == 0 || len(envelopes) > MaxItems {
		return nil, fmt.Errorf("prepare: %d envelopes, want 1 to %d", len(envelopes), MaxItems)
	}
	o := &Opening{envelopes: envelopes}
	labels := make([][]byte, 0, len(envelopes))
	for _, e := range envelopes {
		if len(e.Leaves) != 1 || e.Leaves[0].Committee != q.config.Committee.ID {
			return nil, fmt.Errorf("prepare %s: sealed to another committee", e.Label.Ref())
		}
		if e.Label.Compartment != envelopes[0].Label.Compartment {
			return nil, fmt.Errorf("prepare %s: an entry permits the records of one patient", e.Label.Ref())
		}
		if err := e.Leaves[0].validate(); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", e.Label.Ref(), err)
		}
		item := e.Item()
		hash := LabelHash(item.Label)
		labels = append(labels, hash[:])
		o.items = append(o.items, item)
		o.ciphertexts = append(o.ciphertexts, threshold.Ciphertext(e.Leaves[0].Ciphertext))
		o.labels = append(o.labels, item.LeafLabel(&e.Leaves[0]))
	}
	var err error
	if o.reader, err = hpke.MLKEM768X25519().GenerateKey(); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	request := Request{
		SignIn: a.SignIn, Action: a.Action, Purpose: a.Purpose, Scopes: a.Scopes, Context: a.Context,
		Labels: labels, Reader: o.reader.PublicKey().Bytes(),
		NotAfter: q.config.Now().Add(q.config.Lifetime).UnixMilli(), Nonce: nonce,
	}
	o.encoded = request.Encode()
	if _, err := DecodeRequest(o.encoded); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	o.hash = RequestHash(o.encoded)
	return o, nil
}

// Hash is H(Q), for the entry's Request field.
func (o *Opening) Hash() []byte { return append([]byte(nil), o.hash[:]...) }

// Resources is what the entry must list, in this order.
func (o *Opening) Resources() []chain.Resource {
	return lo.Map(o.envelopes, func(e *Envelope, _ int) chain.Resource {
		digest := e.Digest()
		return chain.Resource{Type: e.Label.Type, ID: e.Label.ID, Revision: e.Label.Revision, Digest: digest[:]}
	})
}

// release is what custodians are sent once the entry stands.
func (o *Opening) release(index uint64) Release {
	return Release{Index: index, Request: o.encoded, Items: o.items}
}
