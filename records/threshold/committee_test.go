package threshold_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/samber/lo"
	"pgregory.net/rapid"

	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

func TestACommitteeSurvivesItsEncodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		binary, err := s.committee.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.committee.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var fromBinary, fromText threshold.Committee
		if err := errors.Join(fromBinary.UnmarshalBinary(binary), fromText.UnmarshalText(text)); err != nil {
			t.Fatal(err)
		}
		for _, read := range []*threshold.Committee{&fromBinary, &fromText} {
			if err := errors.Join(read.Validate(), read.Verify(s.cts, s.labels)); err != nil {
				t.Error(err)
			}
			if again, err := read.MarshalBinary(); err != nil || !bytes.Equal(again, binary) {
				t.Errorf("it is written as %x, %v", again, err)
			}
			if read.GBar() != s.committee.GBar() {
				t.Error("Ḡ differs")
			}
		}
		at := rapid.IntRange(0, len(binary)-1).Draw(t, "byte")
		changed := slices.Clone(binary)
		changed[at] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		var read threshold.Committee
		if err := read.UnmarshalBinary(changed); err == nil {
			// An id or a larger F may still make sense: but it is another committee.
			if again, err := read.MarshalBinary(); err != nil || !bytes.Equal(again, changed) {
				t.Errorf("%x was read as %x, %v", changed, again, err)
			}
		} else if !errors.Is(err, threshold.ErrCommittee) {
			t.Errorf("UnmarshalBinary() error = %v, want ErrCommittee", err)
		}
	})
}

func TestAShareSurvivesTheKeyStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		share := s.some(t, 1)[0]
		secret := share.Secret()
		read, err := threshold.ParseShare(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := read.Fits(s.committee); err != nil {
			t.Error(err)
		}
		if read.Index() != share.Index() || read.Committee() != "drawn" || read.Public() != share.Public() {
			t.Error("it came back as another")
		}
		partials, proof := s.release(t, read)
		if err := s.committee.VerifyPartials(read.Index(), s.cts, partials, proof, s.context); err != nil {
			t.Error(err)
		}
		// A changed one is not taken for this committee's.
		secret[rapid.IntRange(0, len(secret)-1).Draw(t, "byte")] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		if changed, err := threshold.ParseShare(secret); err == nil {
			err = changed.Fits(s.committee)
			if !errors.Is(err, threshold.ErrShare) {
				t.Errorf("Fits() error = %v, want ErrShare", err)
			}
		} else if !errors.Is(err, threshold.ErrShare) {
			t.Errorf("ParseShare() error = %v, want ErrShare", err)
		}
	})
}

func TestADestroyedShareReleasesNothing(t *testing.T) {
	committee, shares, err := dkg.Deal("test", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := committee.Encrypt([32]byte{1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	shares[0].Destroy()
	shares[0].Destroy()
	if _, _, err := shares[0].Release([]threshold.Ciphertext{ct}, nil); !errors.Is(err, threshold.ErrShare) {
		t.Errorf("Release() error = %v, want ErrShare", err)
	}
	if secret := shares[0].Secret(); secret != nil {
		t.Error("it still tells its secret")
	}
}

func TestCommitteesThatMakeNoSenseAreRefused(t *testing.T) {
	c, _, err := dkg.Deal("test", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := dkg.Deal("test", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	four, _, err := dkg.Deal("test", 4, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	with := func(i int, key threshold.Point) []threshold.Point {
		keys := slices.Clone(c.Keys)
		keys[i] = key
		return keys
	}
	for name, tc := range map[string]struct {
		id      string
		n, k, f int
		key     threshold.Point
		keys    []threshold.Point
		want    string // in the error
	}{
		"two quorums without a member in common":         {"test", 4, 2, 0, c.Key, c.Keys, "threshold 2 of 4 custodians, 0 of them liars"},
		"two quorums without an honest member in common": {"test", 4, 3, 2, c.Key, c.Keys, "threshold 3 of 4 custodians, 2 of them liars"},
		"a negative number of liars":                     {"test", 4, 3, -1, c.Key, c.Keys, "-1 lying"},
		"a threshold above everybody":                    {"test", 4, 5, 1, c.Key, c.Keys, "threshold 5 exceeds"},
		"a lower threshold than that of the keys":        {"test", 4, 3, 1, four.Key, four.Keys, "not shares of the public key with threshold 3"},
		"another public key":                             {"test", 4, 3, 1, other.Key, c.Keys, "not shares of the public key"},
		"another's custodian":                            {"test", 4, 3, 1, c.Key, with(3, other.Keys[3]), "not shares of the public key"},
		"custodians out of turn":                         {"test", 4, 3, 1, c.Key, with(0, c.Keys[1]), "not shares of the public key"},
		"the identity as key":                            {"test", 4, 3, 1, threshold.Point{}, c.Keys, "public key: the identity"},
		"the identity as a custodian's key":              {"test", 4, 3, 1, c.Key, with(1, threshold.Point{}), "key of custodian 2: the identity"},
		"a key that is no point":                         {"test", 4, 3, 1, c.Key, with(2, threshold.Point{1}), "key of custodian 3: not the canonical"},
		"too few keys":                                   {"test", 4, 3, 1, c.Key, c.Keys[:3], "3 keys for 4"},
		"no custodians":                                  {"test", 0, 0, 0, c.Key, nil, "0 custodians"},
		"too many custodians":                            {"test", 256, 200, 1, c.Key, lo.Times(256, func(int) threshold.Point { return c.Key }), "256 custodians"},
		"no id":                                          {"", 4, 3, 1, c.Key, c.Keys, `id ""`},
		"a long id":                                      {fmt.Sprintf("%065d", 1), 4, 3, 1, c.Key, c.Keys, "1 to 64"},
		"an odd id":                                      {"a\x00b", 4, 3, 1, c.Key, c.Keys, `id "a\x00b"`},
	} {
		_, err := threshold.NewCommittee(tc.id, tc.n, tc.k, tc.f, tc.key, tc.keys)
		if !errors.Is(err, threshold.ErrCommittee) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want ErrCommittee that says %q", name, err, tc.want)
		}
	}
	odd := *c
	odd.Suite = 2
	if err := odd.Validate(); !errors.Is(err, threshold.ErrCommittee) || !strings.Contains(err.Error(), "unknown suite 2") {
		t.Errorf("another suite: error %v", err)
	}
}

func TestACommitteePutTogetherByHandDoesNothing(t *testing.T) {
	c, shares, err := dkg.Deal("test", 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	byHand := &threshold.Committee{Suite: c.Suite, ID: c.ID, N: c.N, K: c.K, Key: c.Key, Keys: c.Keys}
	_, encrypt := byHand.Encrypt([32]byte{}, nil)
	_, combine := byHand.Combine(threshold.Ciphertext{}, nil, nil)
	_, marshal := byHand.MarshalBinary()
	_, share := threshold.NewShare(byHand, 1, make([]byte, 32))
	for what, err := range map[string]error{
		"encrypt": encrypt, "combine": combine, "marshal": marshal, "share": share, "fits": shares[0].Fits(byHand),
		"verify":   byHand.Verify([]threshold.Ciphertext{{}}, [][]byte{nil}),
		"partials": byHand.VerifyPartials(1, []threshold.Ciphertext{{}}, []threshold.Partial{{}}, threshold.Proof{}, nil),
	} {
		if !errors.Is(err, threshold.ErrCommittee) {
			t.Errorf("%s: error %v, want ErrCommittee", what, err)
		}
	}
	if err := byHand.Validate(); err != nil {
		t.Errorf("Validate() = %v, though the numbers are right", err)
	}
}

func TestSharesThatDoNotFitAreRefused(t *testing.T) {
	c, shares, err := dkg.Deal("test", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	secret := shares[0].Secret()
	own := secret[len(secret)-32:]
	for name, tc := range map[string]struct {
		index  int
		secret []byte
	}{
		"another custodian's":   {2, own},
		"of nobody":             {0, own},
		"beyond the committee":  {5, own},
		"beyond all committees": {256, own},
		"zero":                  {1, make([]byte, 32)},
		"not reduced":           {1, bytes.Repeat([]byte{0xff}, 32)},
		"short":                 {1, own[:31]},
		"long":                  {1, append(slices.Clone(own), 0)},
	} {
		if _, err := threshold.NewShare(c, tc.index, tc.secret); !errors.Is(err, threshold.ErrShare) {
			t.Errorf("%s: error %v, want ErrShare", name, err)
		}
	}
	if _, err := threshold.NewShare(c, 1, own); err != nil {
		t.Error(err)
	}
}
