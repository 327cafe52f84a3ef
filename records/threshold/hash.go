package threshold

import (
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"slices"

	"github.com/gtank/ristretto255"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// What each hash is for. Together with suite and committee id it makes the
// domain tag, so that no hash can stand for another, or for another committee's.
const (
	forGBar      = "wardkey-tdh2-gbar-v1\x00"
	forPad       = "wardkey-tdh2-pad-v1\x00"
	forChallenge = "wardkey-tdh2-challenge-v1\x00"
	forEncrypt   = "wardkey-tdh2-encrypt-nonce-v1\x00"
	forProof     = "wardkey-tdh2-proof-nonce-v1\x00"
	forDLEQ      = "wardkey-tdh2-dleq-v1\x00"
)

// maxID keeps every domain tag below the 255 bytes of RFC 9380 §5.3.1, the
// longest of them being that of a proof's hash.
const maxID = 64

// domain names suite and committee: the latter half of every tag.
type domain string

func newDomain(suite Suite, id string) domain { return domain([]byte{byte(suite)}) + domain(id) }

func (d domain) tag(what string) []byte { return append([]byte(what), d...) }

// gBar hashes to the second generator, whose logarithm nobody knows:
// hash_to_ristretto255 of RFC 9380 Appendix B.
func (d domain) gBar() *point {
	p := new(point)
	if _, err := p.element.SetUniformBytes(expand(d.tag(forGBar), 64, nil)); err != nil {
		panic("threshold: " + err.Error()) // always 64 bytes
	}
	p.bytes()
	return p
}

// oracles are the hashes of encryption: tdh2's Hash.
type oracles struct {
	domain domain
	key    *point // X
}

var _ tdh2.Hash[scalar, point] = oracles{}

// Pad binds the pad to u and the label besides the secret point. The paper's H₁
// takes the point alone; in the random-oracle model more input does no harm, and
// a partial decryption carried over to another ciphertext opens nothing.
func (o oracles) Pad(shared, u *point, label []byte) (pad [32]byte) {
	secret := appendPrefixed(nil, shared.bytes(), u.bytes(), label)
	block := expand(o.domain.tag(forPad), 32, secret)
	copy(pad[:], block)
	clear(secret)
	clear(block)
	shared.wipe()
	return pad
}

func (o oracles) Challenge(c [32]byte, label []byte, u, w, uBar, wBar *point) *scalar {
	return hashToScalar(o.domain.tag(forChallenge),
		appendPrefixed(nil, o.key.bytes(), c[:], label, u.bytes(), w.bytes(), uBar.bytes(), wBar.bytes()))
}

// dleq is the hashing of RFC 9497 §2.2 with ristretto255 and SHA-512; its value
// is the context string. tdh2's Transcript.
type dleq string

var _ tdh2.Transcript[scalar, point] = dleq("")

// dleq binds a proof to the caller's context through the context string, the
// place that the RFC has for it.
func (d domain) dleq(context []byte) dleq {
	digest := sha512.Sum512_256(context)
	return dleq(forDLEQ) + dleq(d) + dleq(digest[:])
}

// Weights is ComputeComposites of RFC 9497 §2.2.1, as far as the dᵢ.
func (t dleq) Weights(public *point, c, d []*point) []*scalar {
	seed := sha512.Sum512(appendPrefixed16(nil, public.bytes(), []byte("Seed-"+t)))
	tag := []byte("HashToScalar-" + t)
	transcript := appendPrefixed16(nil, seed[:])
	weights := make([]*scalar, len(c))
	for i := range c {
		item := binary.BigEndian.AppendUint16(transcript, uint16(i))
		item = appendPrefixed16(item, c[i].bytes(), d[i].bytes())
		item = append(item, "Composite"...)
		weights[i] = hashToScalar(tag, item)
		transcript = item[:len(transcript)] // and its room
	}
	return weights
}

// Challenge is the transcript of RFC 9497 §2.2.1, GenerateProof.
func (t dleq) Challenge(public, m, z, t2, t3 *point) *scalar {
	transcript := appendPrefixed16(nil, public.bytes(), m.bytes(), z.bytes(), t2.bytes(), t3.bytes())
	return hashToScalar([]byte("HashToScalar-"+t), append(transcript, "Challenge"...))
}

// hashToScalar is RFC 9497 §4.1's for ristretto255 and SHA-512.
func hashToScalar(tag, message []byte) *scalar {
	uniform := expand(tag, 64, message)
	s := uniformScalar(uniform)
	clear(uniform)
	return s
}

// expand is expand_message_xmd with SHA-512: RFC 9380 §5.3.1; n is at most 255
// blocks of 64 bytes. It leaves no copy of the message behind.
func expand(tag []byte, n int, message []byte) []byte {
	blocks := (n + sha512.Size - 1) / sha512.Size
	if len(tag) > 255 || blocks > 255 {
		panic("threshold: domain tag or output too long") // a mistake in this package
	}
	suffix := append(tag[:len(tag):len(tag)], byte(len(tag)))

	buffer := make([]byte, sha512.BlockSize, sha512.BlockSize+len(message)+3+len(suffix))
	buffer = append(buffer, message...)
	buffer = append(buffer, byte(n>>8), byte(n), 0)
	buffer = append(buffer, suffix...)
	first := sha512.Sum512(buffer)

	out := make([]byte, 0, blocks*sha512.Size)
	var block [sha512.Size]byte
	for i := 1; i <= blocks; i++ {
		subtle.XORBytes(block[:], block[:], first[:])
		chained := append(append(buffer[:0], block[:]...), byte(i))
		block = sha512.Sum512(append(chained, suffix...))
		out = append(out, block[:]...)
	}
	clear(buffer)
	return out[:n]
}

// appendPrefixed puts its length, as eight bytes, before each part: joined, they
// read in one way alone.
func appendPrefixed(b []byte, parts ...[]byte) []byte {
	b = slices.Grow(b, lo.SumBy(parts, func(part []byte) int { return 8 + len(part) }))
	for _, part := range parts {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
	}
	return b
}

// appendPrefixed16 does so with two bytes, as RFC 9497 does; its parts are short.
func appendPrefixed16(b []byte, parts ...[]byte) []byte {
	for _, part := range parts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(part))), part...)
	}
	return b
}

// wipe overwrites secrets that are done with.
func wipe(secrets ...*scalar) {
	for _, s := range secrets {
		s.Set(ristretto255.NewScalar())
	}
}
