package threshold

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// Suite names the group and the hash functions. It is part of every hash.
type Suite uint8

// Ristretto255 is suite 1: ristretto255 (RFC 9496) with SHA-512.
const Ristretto255 Suite = 1

// MaxMembers is the size of the largest committee.
const MaxMembers = 255

// Point is the canonical encoding (RFC 9496 §4.3.2) of an element that is public.
type Point [32]byte

// String is the encoding in hexadecimal.
func (p Point) String() string { return hex.EncodeToString(p[:]) }

// Committee is the public side of a set of custodians: what writers encrypt to
// and what partial decryptions are checked against. It comes from
// [NewCommittee] or [Committee.UnmarshalBinary] and is not modified afterwards;
// then it may be used by many goroutines.
type Committee struct {
	Suite Suite
	ID    string  // in every hash: two committees never understand one another
	N     int     // how many custodians there are
	K     int     // how many of them open a ciphertext
	F     int     // how many of them may lie
	Key   Point   // X, the public key
	Keys  []Point // X₁ … X_N; that of custodian i is Keys[i-1]

	domain domain
	key    *point
	gBar   *point
	keys   []*point
}

// NewCommittee checks what it is given as [Committee.Validate] does.
func NewCommittee(id string, n, k, f int, key Point, keys []Point) (*Committee, error) {
	c := &Committee{Suite: Ristretto255, ID: id, N: n, K: k, F: f, Key: key, Keys: slices.Clone(keys)}
	if err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

// Validate says whether the committee makes sense: an id of 1 to 64 bytes of
// letters, digits and .-_:/, at most 255 custodians, k > (n+f)/2, canonical keys,
// and keys of custodians that are the shares of the public key. The error is
// [ErrCommittee] and says what is wrong.
//
// With k ≤ (n+f)/2 two sets of k custodians could have no honest one in common:
// two histories could both be opened.
func (c *Committee) Validate() error {
	fresh := *c
	return fresh.open()
}

// open validates the exported fields and fills the others from them.
func (c *Committee) open() error {
	if err := c.checkNumbers(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommittee, err)
	}
	key, err := decodePoint(c.Key[:])
	if err != nil {
		return fmt.Errorf("%w: public key: %w", ErrCommittee, err)
	}
	keys := make([]*point, c.N)
	for i := range keys {
		if keys[i], err = decodePoint(c.Keys[i][:]); err != nil {
			return fmt.Errorf("%w: key of custodian %d: %w", ErrCommittee, i+1, err)
		}
	}
	dual := lo.Times(c.N+1-c.K, func(int) *scalar { return uniformScalar(random(64)) })
	if !tdh2.Consistent(ristretto{}, append([]*point{key}, keys...), dual) {
		return fmt.Errorf("%w: the custodians' keys are not shares of the public key with threshold %d", ErrCommittee, c.K)
	}
	c.domain = newDomain(c.Suite, c.ID)
	c.gBar = c.domain.gBar()
	c.key, c.keys = key, keys
	return nil
}

func (c *Committee) checkNumbers() error {
	switch {
	case c.Suite != Ristretto255:
		return fmt.Errorf("unknown suite %d", c.Suite)
	case !validID(c.ID):
		return fmt.Errorf("id %q is not 1 to %d letters, digits or .-_:/", c.ID, maxID)
	case c.N < 1 || c.N > MaxMembers:
		return fmt.Errorf("%d custodians: there are 1 to %d", c.N, MaxMembers)
	case c.F < 0:
		return fmt.Errorf("%d lying custodians", c.F)
	case c.K > c.N:
		return fmt.Errorf("threshold %d exceeds the %d custodians", c.K, c.N)
	case 2*c.K <= c.N+c.F:
		return fmt.Errorf("threshold %d of %d custodians, %d of them liars: it must exceed half their sum", c.K, c.N, c.F)
	case len(c.Keys) != c.N:
		return fmt.Errorf("%d keys for %d custodians", len(c.Keys), c.N)
	}
	return nil
}

func validID(id string) bool {
	return id != "" && len(id) <= maxID && lo.EveryBy([]byte(id), func(b byte) bool {
		return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || bytes.IndexByte([]byte(".-_:/"), b) >= 0
	})
}

// ready tells a committee that was checked from one put together by hand.
func (c *Committee) ready() error {
	if c == nil || c.key == nil {
		return fmt.Errorf("%w: not made by NewCommittee", ErrCommittee)
	}
	return nil
}

// GBar is Ḡ, the second generator, derived from suite and id.
func (c *Committee) GBar() Point { return Point(newDomain(c.Suite, c.ID).gBar().encoded) }

const committeeMagic = "wardkey-committee-v1\x00"

// MarshalBinary writes the one encoding of the committee: a tag; suite, n, k, f
// and the id's length, a byte each; the id; X; X₁ … X_n.
func (c *Committee) MarshalBinary() ([]byte, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	b := append([]byte(committeeMagic), byte(c.Suite), byte(c.N), byte(c.K), byte(c.F), byte(len(c.ID)))
	b = append(b, c.ID...)
	b = append(b, c.Key[:]...)
	for _, key := range c.Keys {
		b = append(b, key[:]...)
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote, and nothing else, and
// validates it. On an error the committee is unchanged.
func (c *Committee) UnmarshalBinary(data []byte) error {
	rest, ok := bytes.CutPrefix(data, []byte(committeeMagic))
	if !ok || len(rest) < 5 {
		return fmt.Errorf("%w: not an encoded committee", ErrCommittee)
	}
	read := Committee{Suite: Suite(rest[0]), N: int(rest[1]), K: int(rest[2]), F: int(rest[3])}
	idLen, rest := int(rest[4]), rest[5:]
	if len(rest) != idLen+32*(1+read.N) {
		return fmt.Errorf("%w: length does not fit its contents", ErrCommittee)
	}
	read.ID, rest = string(rest[:idLen]), rest[idLen:]
	points := lo.Map(lo.Chunk(rest, 32), func(b []byte, _ int) Point { return Point(b) })
	read.Key, read.Keys = points[0], points[1:]
	if err := read.open(); err != nil {
		return err
	}
	*c = read
	return nil
}

// MarshalText is MarshalBinary in base64url without padding, for configuration
// files and JSON.
func (c *Committee) MarshalText() ([]byte, error) {
	b, err := c.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText reads what MarshalText wrote.
func (c *Committee) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.Strict().AppendDecode(nil, text)
	if err != nil || bytes.ContainsAny(text, "\r\n") { // line ends, which the decoder skips
		return fmt.Errorf("%w: not base64url without padding", ErrCommittee)
	}
	return c.UnmarshalBinary(b)
}

// random never fails: crypto/rand ends the process if the system has none.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
