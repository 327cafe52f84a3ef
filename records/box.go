package records

import (
	"crypto/hpke"
	"encoding/binary"
	"fmt"

	"github.com/wardkey/wardkey/records/threshold"
)

// A box is HPKE (RFC 9180) to the reader's one-time X-Wing key, so that what a
// custodian releases is nobody else's, and a recording of the traffic stays
// closed to a quantum computer. Its info binds the request and the entry.

// Box is a box to one reader that is still open. Making it is the costly part,
// and the one that a bad reader key fails.
type Box struct {
	encapsulated []byte
	sender       *hpke.Sender
}

// NewBox makes a box for the answer to the request and entry. The error wraps
// [ErrEncoding]: it is the reader key that is at fault.
func NewBox(reader []byte, request [32]byte, index uint64) (*Box, error) {
	key, err := hpke.MLKEM768X25519().NewPublicKey(reader)
	if err != nil {
		return nil, fmt.Errorf("reader key: %w: %w", ErrEncoding, err)
	}
	encapsulated, sender, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.AES256GCM(), boxInfo(request, index))
	if err != nil {
		return nil, fmt.Errorf("reader key: %w: %w", ErrEncoding, err)
	}
	return &Box{encapsulated: encapsulated, sender: sender}, nil
}

// Seal puts the partials of one release in, and closes the box for good.
func (b *Box) Seal(partials []threshold.Partial) ([]byte, error) {
	plain := make([]byte, 0, len(partials)*len(threshold.Partial{}))
	for _, p := range partials {
		plain = append(plain, p[:]...)
	}
	defer clear(plain)
	sealed, err := b.sender.Seal(nil, plain)
	if err != nil {
		return nil, fmt.Errorf("seal to reader: %w", err)
	}
	return append(b.encapsulated, sealed...), nil
}

// openBox returns the want partials that SealBox sealed.
func openBox(key hpke.PrivateKey, request [32]byte, index uint64, box []byte, want int) ([]threshold.Partial, error) {
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), boxInfo(request, index), box)
	if err != nil {
		return nil, fmt.Errorf("box does not open: %w", err)
	}
	defer clear(plain)
	const size = len(threshold.Partial{})
	if len(plain) != want*size {
		return nil, fmt.Errorf("box holds %d bytes, want %d", len(plain), want*size)
	}
	partials := make([]threshold.Partial, want)
	for i := range partials {
		copy(partials[i][:], plain[i*size:])
	}
	return partials, nil
}

func boxInfo(request [32]byte, index uint64) []byte {
	return append([]byte("wardkey-box-v1\x00"), joined(request[:], indexBytes(index))...)
}

func indexBytes(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }
