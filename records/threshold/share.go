package threshold

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/gtank/ristretto255"
)

// Share is one custodian's share of a committee's key: the secret. It may be used
// by many goroutines until [Share.Destroy]. It prints, logs and encodes as
// "[redacted]"; [Share.Secret] is the one way to its bytes.
type Share struct {
	suite     Suite
	committee string
	index     int
	secret    *scalar // behind a pointer, so that printing a struct that holds a Share shows an address
	public    *point
}

// NewShare makes custodian index's share (from 1) of c from the 32-byte encoding
// of its scalar. The error is [ErrShare] if that is not the share whose public
// key c lists.
func NewShare(c *Committee, index int, secret []byte) (*Share, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	s, err := newShare(c.Suite, c.ID, index, secret)
	if err != nil {
		return nil, err
	}
	if err := s.Fits(c); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

func newShare(suite Suite, committee string, index int, secret []byte) (*Share, error) {
	switch {
	case suite != Ristretto255:
		return nil, fmt.Errorf("%w: unknown suite %d", ErrShare, suite)
	case !validID(committee):
		return nil, fmt.Errorf("%w: committee id %q", ErrShare, committee)
	case index < 1 || index > MaxMembers:
		return nil, fmt.Errorf("%w: custodian %d", ErrShare, index)
	}
	x, err := decodeScalar(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrShare, err)
	}
	if x.Equal(ristretto255.NewScalar()) == 1 {
		return nil, fmt.Errorf("%w: its scalar is zero", ErrShare)
	}
	public := ristretto{}.BaseMul(x)
	public.bytes()
	return &Share{suite: suite, committee: committee, index: index, secret: x, public: public}, nil
}

// Index is the number of the custodian that holds the share, from 1.
func (s *Share) Index() int { return s.index }

// Committee is the id of the committee that the share belongs to.
func (s *Share) Committee() string { return s.committee }

// Public is X_i, as the committee lists it.
func (s *Share) Public() Point { return Point(s.public.encoded) }

// Fits says, by [ErrShare], if the share is not one of c's.
func (s *Share) Fits(c *Committee) error {
	if err := c.ready(); err != nil {
		return err
	}
	switch {
	case s.suite != c.Suite || s.committee != c.ID:
		return fmt.Errorf("%w: it is of committee %q, not %q", ErrShare, s.committee, c.ID)
	case s.index > c.N:
		return fmt.Errorf("%w: custodian %d of %d", ErrShare, s.index, c.N)
	case s.Public() != c.Keys[s.index-1]:
		return fmt.Errorf("%w: it is not the one whose public key is listed for custodian %d", ErrShare, s.index)
	}
	return nil
}

const shareMagic = "wardkey-share-v1\x00"

// Secret encodes the share for a key store: a tag; suite, index and the length of
// the committee's id, a byte each; that id; the scalar. The caller clears what it
// got when done with it. It is nil after [Share.Destroy].
func (s *Share) Secret() []byte {
	if s.secret == nil {
		return nil
	}
	x := s.secret.Bytes()
	defer clear(x)
	b := append([]byte(shareMagic), byte(s.suite), byte(s.index), byte(len(s.committee)))
	return slices.Concat(b, []byte(s.committee), x)
}

// ParseShare reads what [Share.Secret] wrote, and nothing else; otherwise the
// error is [ErrShare]. Ask [Share.Fits] before relying on it.
func ParseShare(b []byte) (*Share, error) {
	rest, ok := bytes.CutPrefix(b, []byte(shareMagic))
	if !ok || len(rest) < 3 || len(rest) != 3+int(rest[2])+32 {
		return nil, fmt.Errorf("%w: not an encoded share", ErrShare)
	}
	id, secret := rest[3:3+int(rest[2])], rest[3+int(rest[2]):]
	return newShare(Suite(rest[0]), string(id), int(rest[1]), secret)
}

// Destroy overwrites the secret; the share releases nothing afterwards. Go may
// have moved it about in memory before, which is beyond a program's reach.
func (s *Share) Destroy() {
	if s.secret != nil {
		wipe(s.secret)
		s.secret = nil
	}
}

const redacted = "[redacted]"

// String hides the secret.
func (Share) String() string { return redacted }

// GoString hides the secret.
func (Share) GoString() string { return redacted }

// Format hides the secret from every verb.
func (Share) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the secret from logs.
func (Share) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from JSON and YAML.
func (Share) MarshalText() ([]byte, error) { return []byte(redacted), nil }
