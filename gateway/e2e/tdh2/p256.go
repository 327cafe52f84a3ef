package interop

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"github.com/smartcontractkit/tdh2/go/tdh2/lib/group"
	"github.com/smartcontractkit/tdh2/go/tdh2/lib/group/nist"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

type scalar struct{ group.Scalar }

type point struct{ group.Point }

// p256 is the other implementation's group, as Wardkey's arithmetic wants it.
type p256 struct{ group group.Group }

var _ tdh2.Group[scalar, point] = p256{}

func newP256() p256 { return p256{nist.NewP256()} }

func (g p256) Generator() *point              { return &point{g.group.Point().Base()} }
func (g p256) BaseMul(s *scalar) *point       { return &point{g.group.Point().Mul(s.Scalar, nil)} }
func (g p256) Mul(s *scalar, p *point) *point { return &point{g.group.Point().Mul(s.Scalar, p.Point)} }

func (g p256) MulSum(s []*scalar, p []*point) *point {
	sum := g.group.Point().Null()
	for i := range s {
		sum = g.group.Point().Add(sum, g.Mul(s[i], p[i]).Point)
	}
	return &point{sum}
}

func (g p256) VarTimeMulSum(s []*scalar, p []*point) *point { return g.MulSum(s, p) }

func (g p256) VarTimeBaseMulSum(a *scalar, p *point, b *scalar) *point {
	return g.MulSum([]*scalar{a, b}, []*point{p, g.Generator()})
}

func (g p256) Equal(p, q *point) bool   { return p.Equal(q.Point) }
func (g p256) IsIdentity(p *point) bool { return p.Equal(g.group.Point().Null()) }

func (g p256) Small(n uint64) *scalar { return &scalar{g.group.Scalar().SetInt64(int64(n))} }

func (g p256) InvertSmall(n uint64) *scalar {
	return &scalar{g.group.Scalar().Inv(g.Small(n).Scalar)}
}

func (g p256) ScalarEqual(a, b *scalar) bool { return a.Equal(b.Scalar) }
func (g p256) ScalarMul(a, b *scalar) *scalar {
	return &scalar{g.group.Scalar().Mul(a.Scalar, b.Scalar)}
}

func (g p256) MulAdd(a, b, c *scalar) *scalar {
	return &scalar{g.group.Scalar().Add(g.ScalarMul(a, b).Scalar, c.Scalar)}
}

func (g p256) Negate(a *scalar) *scalar { return &scalar{g.group.Scalar().Neg(a.Scalar)} }

func (g p256) random() *scalar { return &scalar{g.group.Scalar().Pick(stream())} }

// join is the name of the group and the points in hexadecimal, comma-separated.
func (g p256) join(points ...*point) []byte {
	joined := g.group.String()
	for _, p := range points {
		joined += "," + hex.EncodeToString(marshal(p.Point))
	}
	return []byte(joined)
}

func (g p256) reduce(input []byte) *scalar {
	digest := sha256.Sum256(input)
	return &scalar{g.group.Scalar().SetBytes(digest[:])}
}

// encryption is the other implementation's H₁ and H₂.
type encryption struct{ p256 }

var _ tdh2.Hash[scalar, point] = encryption{}

// Pad is H₁, which is of the secret point alone.
func (h encryption) Pad(shared, _ *point, _ []byte) [32]byte {
	return sha256.Sum256(append([]byte("tdh2hash1"), h.join(shared)...))
}

// Challenge is H₂.
func (h encryption) Challenge(c [32]byte, label []byte, u, w, uBar, wBar *point) *scalar {
	input := append([]byte("tdh2hash2"), c[:]...)
	input = append(input, label...)
	return h.reduce(append(input, h.join(u, w, uBar, wBar)...))
}

// proof is the other implementation's H₄. It proves one partial decryption at a
// time, so the fold is that one itself; and its response is s + xe where
// Wardkey's is s − xc, so the challenge is −e.
type proof struct{ p256 }

var _ tdh2.Transcript[scalar, point] = proof{}

func (h proof) Weights(_ *point, c, _ []*point) []*scalar {
	if len(c) != 1 {
		panic("a batch")
	}
	return []*scalar{h.Small(1)}
}

func (h proof) Challenge(_, _, z, t2, t3 *point) *scalar {
	return h.Negate(h.reduce(append([]byte("tdh2hash4"), h.join(z, t3, t2)...)))
}

type binary interface{ MarshalBinary() ([]byte, error) }

func marshal(v binary) []byte {
	b, err := v.MarshalBinary()
	if err != nil {
		panic(err) // of what was made here
	}
	return b
}

// stream is the other implementation's form of a random source.
func stream() cipher.Stream {
	var key [16]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	return cipher.NewCTR(block, make([]byte, aes.BlockSize)) //nolint:gosec // a key is used once
}
