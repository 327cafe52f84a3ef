package threshold

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/gtank/ristretto255"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

type scalar = ristretto255.Scalar

// point is an element of ristretto255 with its canonical encoding, which is
// computed when first asked for and costs a tenth of a multiplication. A point
// that several goroutines may see has been asked before.
type point struct {
	element ristretto255.Element
	encoded [32]byte
	known   bool // encoded holds the encoding
}

func (p *point) bytes() []byte {
	if !p.known {
		copy(p.encoded[:], p.element.Bytes())
		p.known = true
	}
	return p.encoded[:]
}

// wipe forgets a point that would open a record.
func (p *point) wipe() {
	p.element.Set(ristretto255.NewIdentityElement())
	clear(p.encoded[:])
	p.known = false
}

var (
	errPoint    = errors.New("not the canonical encoding of a point")
	errIdentity = errors.New("the identity is not allowed here")
	errScalar   = errors.New("not the canonical encoding of a scalar")
)

// decodePoint takes canonical encodings alone (RFC 9496 §4.3.1), and never the
// identity: no value of this scheme is the identity but by a forger's choice.
func decodePoint(b []byte) (*point, error) {
	p := &point{known: true}
	if _, err := p.element.SetCanonicalBytes(b); err != nil {
		return nil, errPoint
	}
	copy(p.encoded[:], b)
	if p.encoded == [32]byte{} { // RFC 9496 Appendix A.1: the identity is all zeros
		return nil, errIdentity
	}
	return p, nil
}

// undecoded is a point of which nothing but the encoding is wanted.
func undecoded(b []byte) *point { return &point{encoded: [32]byte(b), known: true} }

func decodeScalar(b []byte) (*scalar, error) {
	s, err := ristretto255.NewScalar().SetCanonicalBytes(b)
	if err != nil {
		return nil, errScalar
	}
	return s, nil
}

// uniformScalar reduces 64 uniform bytes.
func uniformScalar(b []byte) *scalar {
	s, err := ristretto255.NewScalar().SetUniformBytes(b)
	if err != nil {
		panic("threshold: " + err.Error()) // not 64 bytes: a mistake in this package
	}
	return s
}

// shortScalar is the number that 16 bytes make: a weight of 128 bits.
func shortScalar(b []byte) *scalar {
	var wide [32]byte
	copy(wide[:16], b)
	s, err := ristretto255.NewScalar().SetCanonicalBytes(wide[:])
	if err != nil {
		panic("threshold: " + err.Error()) // every number below 2¹²⁸ is canonical
	}
	return s
}

// ristretto is the group, for the arithmetic in tdh2.
type ristretto struct{}

var _ tdh2.Group[scalar, point] = ristretto{}

func (ristretto) Generator() *point {
	return &point{element: *ristretto255.NewGeneratorElement()}
}

func (ristretto) BaseMul(s *scalar) *point {
	p := new(point)
	p.element.ScalarBaseMult(s)
	return p
}

func (ristretto) Mul(s *scalar, q *point) *point {
	p := new(point)
	p.element.ScalarMult(s, &q.element)
	return p
}

func (ristretto) MulSum(s []*scalar, q []*point) *point {
	// edwards25519 before v1.1.1 adds the sum to what the receiver held, and
	// wants that to be a point: it must be the identity (CVE-2026-26958).
	p := &point{element: *ristretto255.NewIdentityElement()}
	p.element.MultiScalarMult(s, elements(q))
	return p
}

// chunk is how many points are multiplied at once. Each takes a table of 1.3 KiB,
// and the doublings that they share are few among as many as this.
const chunk = 256

func (ristretto) VarTimeMulSum(s []*scalar, q []*point) *point {
	p := &point{element: *ristretto255.NewIdentityElement()}
	all := elements(q)
	var part ristretto255.Element
	for len(all) > 0 {
		n := min(chunk, len(all))
		p.element.Add(&p.element, part.VarTimeMultiScalarMult(s[:n], all[:n]))
		s, all = s[n:], all[n:]
	}
	return p
}

func (ristretto) VarTimeBaseMulSum(a *scalar, q *point, b *scalar) *point {
	p := new(point)
	p.element.VarTimeDoubleScalarBaseMult(a, &q.element, b)
	return p
}

func (ristretto) Equal(p, q *point) bool { return p.element.Equal(&q.element) == 1 }

func (ristretto) IsIdentity(p *point) bool {
	return p.element.Equal(ristretto255.NewIdentityElement()) == 1
}

func (ristretto) Small(n uint64) *scalar {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], n)
	return shortScalar(b[:])
}

func (ristretto) ScalarEqual(a, b *scalar) bool { return a.Equal(b) == 1 }
func (ristretto) Negate(a *scalar) *scalar      { return ristretto255.NewScalar().Negate(a) }
func (ristretto) ScalarMul(a, b *scalar) *scalar {
	return ristretto255.NewScalar().Multiply(a, b)
}

func (ristretto) MulAdd(a, b, c *scalar) *scalar {
	s := ristretto255.NewScalar().Multiply(a, b)
	return s.Add(s, c)
}

// InvertSmall looks it up: an inversion costs as much as a quarter of a
// multiplication of points, and the indexes of custodians are few.
func (ristretto) InvertSmall(n uint64) *scalar { return inverses()[n] }

var inverses = sync.OnceValue(func() [MaxMembers + 1]*scalar {
	var table [MaxMembers + 1]*scalar
	for n := 1; n < len(table); n++ {
		table[n] = ristretto255.NewScalar().Invert(ristretto{}.Small(uint64(n)))
	}
	return table
})

func elements(points []*point) []*ristretto255.Element {
	all := make([]*ristretto255.Element, len(points))
	for i, p := range points {
		all[i] = &p.element
	}
	return all
}
