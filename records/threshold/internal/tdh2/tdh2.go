// Package tdh2 is the arithmetic of TDH2 (Shoup and Gennaro, "Securing Threshold
// Cryptosystems against Chosen Ciphertext Attack", J. Cryptology 15, 2002, §4)
// over any group of prime order and any hash functions.
//
// It knows no encodings, draws no randomness and judges no input: all that is
// [github.com/wardkey/wardkey/records/threshold]'s, which runs it over
// ristretto255. That it takes its group as a parameter has a single purpose: the
// same lines run over P-256 against another implementation of the scheme, so
// that agreement there says something about the code that runs here.
//
// Scalars and points pass as pointers and, but for the secret point that
// [Hash].Pad is given, are never changed through them; every operation answers
// with a new value.
package tdh2

// Group is a group of prime order, written additively, with its field of
// scalars. S and P are its scalar and its point.
//
// Operations run in constant time unless their name says VarTime; those see
// public values only.
type Group[S, P any] interface {
	Generator() *P
	BaseMul(s *S) *P                       // s·B
	Mul(s *S, p *P) *P                     // s·p
	MulSum(s []*S, p []*P) *P              // Σ sᵢ·pᵢ
	VarTimeMulSum(s []*S, p []*P) *P       // Σ sᵢ·pᵢ
	VarTimeBaseMulSum(a *S, p *P, b *S) *P // a·p + b·B
	Equal(p, q *P) bool
	IsIdentity(p *P) bool

	Small(n uint64) *S       // n as a scalar
	InvertSmall(n uint64) *S // 1/n, of 1 to 255
	ScalarEqual(a, b *S) bool
	Negate(a *S) *S
	ScalarMul(a, b *S) *S
	MulAdd(a, b, c *S) *S // ab + c, with no trace of ab
}

// Hash is the pair of random oracles of encryption. An implementation holds the
// public key that it is for, and hashes that too where its scheme says so.
type Hash[S, P any] interface {
	// Pad is the one-time pad of a message, from the secret point rX, which
	// it may overwrite: this is the last use of it.
	Pad(shared, u *P, label []byte) [32]byte
	// Challenge is the e of the proof that u and ū have the same logarithm.
	Challenge(c [32]byte, label []byte, u, w, uBar, wBar *P) *S
}

// Ciphertext is an encrypted message. The paper has e in the place of w and w̄,
// which follow from it; with these at hand many ciphertexts are verified at once.
type Ciphertext[S, P any] struct {
	C                [32]byte // the message under its pad
	U, UBar, W, WBar *P       // rB, rḠ, sB, sḠ
	F                *S       // s + re
}

// Encrypt seals message to the public key x. The scalars r and s are secret,
// uniform and used once.
func Encrypt[S, P any](g Group[S, P], h Hash[S, P], x, gBar *P, r, s *S, message [32]byte, label []byte) Ciphertext[S, P] {
	ct := Ciphertext[S, P]{
		U:    g.BaseMul(r),
		UBar: g.Mul(r, gBar),
		W:    g.BaseMul(s),
		WBar: g.Mul(s, gBar),
	}
	ct.C = xor(message, h.Pad(g.Mul(r, x), ct.U, label))
	e := h.Challenge(ct.C, label, ct.U, ct.W, ct.UBar, ct.WBar)
	ct.F = g.MulAdd(r, e, s)
	return ct
}

// Verify says whether whoever made ct knew its r and meant it for label: the
// check without which a custodian would be an oracle for related ciphertexts.
func Verify[S, P any](g Group[S, P], h Hash[S, P], gBar *P, ct Ciphertext[S, P], label []byte) bool {
	e := g.Negate(h.Challenge(ct.C, label, ct.U, ct.W, ct.UBar, ct.WBar))
	w := g.VarTimeBaseMulSum(e, ct.U, ct.F) // fB − eu
	wBar := g.VarTimeMulSum([]*S{ct.F, e}, []*P{gBar, ct.UBar})
	return g.Equal(w, ct.W) && g.Equal(wBar, ct.WBar)
}

// VerifyBatch verifies many ciphertexts in one sum: both equations of each, every
// one times a random weight of its own, add up to the identity. With weights of
// 128 bits a false ciphertext passes with probability 2⁻¹²⁸ (Bellare, Garay and
// Rabin, EUROCRYPT 1998, small exponents test). It takes two weights an item,
// drawn after the items are fixed.
func VerifyBatch[S, P any](g Group[S, P], h Hash[S, P], gBar *P, cts []Ciphertext[S, P], labels [][]byte, weights []*S) bool {
	scalars := make([]*S, 0, 4*len(cts)+2)
	points := make([]*P, 0, 4*len(cts)+2)
	base, bar := g.Small(0), g.Small(0)
	for i, ct := range cts {
		e := h.Challenge(ct.C, labels[i], ct.U, ct.W, ct.UBar, ct.WBar)
		a, b := weights[2*i], weights[2*i+1]
		scalars = append(scalars, a, g.ScalarMul(a, e), b, g.ScalarMul(b, e))
		points = append(points, ct.W, ct.U, ct.WBar, ct.UBar)
		base = g.MulAdd(a, ct.F, base)
		bar = g.MulAdd(b, ct.F, bar)
	}
	scalars = append(scalars, g.Negate(base), g.Negate(bar))
	points = append(points, g.Generator(), gBar)
	return g.IsIdentity(g.VarTimeMulSum(scalars, points))
}

// Open takes the pad off a ciphertext, given rX.
func Open[S, P any](h Hash[S, P], ct Ciphertext[S, P], shared *P, label []byte) [32]byte {
	return xor(ct.C, h.Pad(shared, ct.U, label))
}

func xor(a, b [32]byte) [32]byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}
