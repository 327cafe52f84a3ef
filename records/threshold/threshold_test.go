package threshold_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/samber/lo"
	"pgregory.net/rapid"

	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

// setup is a committee with a batch of ciphertexts.
type setup struct {
	committee *threshold.Committee
	shares    []*threshold.Share
	messages  [][32]byte
	labels    [][]byte
	cts       []threshold.Ciphertext
	context   []byte
}

// TestMain draws less often than rapid would by itself, unless told a number: an
// example costs milliseconds, and many times that under the race detector.
func TestMain(m *testing.M) {
	flag.Parse()
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "rapid.checks" })
	if !told {
		if err := flag.Set("rapid.checks", "25"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// dealt holds committees of several sizes with every safe threshold; dealing for
// each check would take most of the time.
var dealt = sync.OnceValue(func() (all []setup) {
	for _, n := range []int{1, 2, 3, 4, 5, 7} {
		for f := 0; f < n; f++ {
			for k := (n+f)/2 + 1; k <= n; k++ {
				committee, shares, err := dkg.Deal("drawn", n, k, f)
				if err != nil {
					panic(err)
				}
				all = append(all, setup{committee: committee, shares: shares})
			}
		}
	}
	return all
})

func draw(t *rapid.T) setup {
	s := rapid.SampledFrom(dealt()).Draw(t, "committee")
	for i := range rapid.IntRange(1, 5).Draw(t, "batch") {
		var message [32]byte
		rand.Read(message[:])
		label := append(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "label"), byte(i)) // all different
		ct, err := s.committee.Encrypt(message, label)
		if err != nil {
			t.Fatal(err)
		}
		s.messages, s.labels, s.cts = append(s.messages, message), append(s.labels, label), append(s.cts, ct)
	}
	s.context = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "context")
	return s
}

// some draws k of the custodians.
func (s setup) some(t *rapid.T, k int) []*threshold.Share {
	return rapid.Permutation(s.shares).Draw(t, "custodians")[:k]
}

func (s setup) release(t *rapid.T, share *threshold.Share) ([]threshold.Partial, threshold.Proof) {
	partials, proof, err := share.Release(s.cts, s.context)
	if err != nil {
		t.Fatal(err)
	}
	return partials, proof
}

// gather releases item at the given custodians.
func (s setup) gather(t *rapid.T, shares []*threshold.Share, item int) map[int]threshold.Partial {
	return lo.SliceToMap(shares, func(share *threshold.Share) (int, threshold.Partial) {
		partials, _ := s.release(t, share)
		return share.Index(), partials[item]
	})
}

func wantInvalid(t *rapid.T, err error, item int) {
	t.Helper()
	if invalid, ok := errors.AsType[*threshold.InvalidError](err); !ok || invalid.Item != item {
		t.Errorf("error %v, want an InvalidError for item %d", err, item)
	}
}

func wantCustodian(t *rapid.T, err error, index int) {
	t.Helper()
	if liar, ok := errors.AsType[*threshold.CustodianError](err); !ok || liar.Index != index {
		t.Errorf("error %v, want a CustodianError for %d", err, index)
	}
}

func TestAnyKOfNOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		if err := s.committee.Verify(s.cts, s.labels); err != nil {
			t.Fatal(err)
		}
		count := rapid.IntRange(s.committee.K, s.committee.N).Draw(t, "answers")
		gathered := make([]map[int]threshold.Partial, len(s.cts))
		for _, share := range s.some(t, count) {
			partials, proof := s.release(t, share)
			if err := s.committee.VerifyPartials(share.Index(), s.cts, partials, proof, s.context); err != nil {
				t.Fatal(err)
			}
			for i := range s.cts {
				if gathered[i] == nil {
					gathered[i] = make(map[int]threshold.Partial)
				}
				gathered[i][share.Index()] = partials[i]
			}
		}
		for i, ct := range s.cts {
			got, err := s.committee.Combine(ct, s.labels[i], gathered[i])
			if err != nil {
				t.Fatal(err)
			}
			if got != s.messages[i] {
				t.Errorf("item %d opened to something else", i)
			}
		}
	})
}

func TestFewerThanKDoNotOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		partials := s.gather(t, s.some(t, s.committee.K-1), 0)
		if _, err := s.committee.Combine(s.cts[0], s.labels[0], partials); !errors.Is(err, threshold.ErrTooFewPartials) {
			t.Errorf("Combine() error = %v, want ErrTooFewPartials", err)
		}
		if s.committee.K == 1 {
			return
		}
		// Nor does it help to insist that they suffice.
		lowered := *s.committee
		lowered.K--
		got, err := lowered.Combine(s.cts[0], s.labels[0], partials)
		if err != nil {
			t.Fatal(err)
		}
		if got == s.messages[0] {
			t.Error("k−1 custodians opened it")
		}
	})
}

func TestAWrongLabelIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		i := rapid.IntRange(0, len(s.cts)-1).Draw(t, "item")
		right := s.labels[i]
		s.labels[i] = rapid.SliceOf(rapid.Byte()).Filter(func(b []byte) bool { return !bytes.Equal(b, right) }).Draw(t, "wrong label")
		wantInvalid(t, s.committee.Verify(s.cts, s.labels), i)
		got, err := s.committee.Combine(s.cts[i], s.labels[i], s.gather(t, s.some(t, s.committee.K), i))
		if err != nil {
			t.Fatal(err)
		}
		if got == s.messages[i] {
			t.Error("it opened under another label")
		}
	})
}

func TestSwappedCiphertextsAreNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		if len(s.cts) < 2 {
			return
		}
		places := rapid.Permutation(lo.Range(len(s.cts))).Draw(t, "places")[:2]
		i, j := slices.Min(places), slices.Max(places)
		s.cts[i], s.cts[j] = s.cts[j], s.cts[i]
		wantInvalid(t, s.committee.Verify(s.cts, s.labels), i)
	})
}

func TestAnAlteredCiphertextIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		i := rapid.IntRange(0, len(s.cts)-1).Draw(t, "item")
		at := rapid.IntRange(0, len(s.cts[i])-1).Draw(t, "byte")
		s.cts[i][at] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		wantInvalid(t, s.committee.Verify(s.cts, s.labels), i)
	})
}

func TestACiphertextMixedFromTwoIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		var message [32]byte
		other, err := s.committee.Encrypt(message, s.labels[0])
		if err != nil {
			t.Fatal(err)
		}
		part := rapid.IntRange(0, 5).Draw(t, "part")
		copy(s.cts[0][32*part:32*(part+1)], other[32*part:])
		wantInvalid(t, s.committee.Verify(s.cts, s.labels), 0)
	})
}

func TestAnotherCommitteesCiphertextIsNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		// The same keys under another name, too: the id is in every hash.
		c := s.committee
		renamed, err := threshold.NewCommittee("renamed", c.N, c.K, c.F, c.Key, c.Keys)
		if err != nil {
			t.Fatal(err)
		}
		wantInvalid(t, renamed.Verify(s.cts, s.labels), 0)
		partials, proof := s.release(t, s.shares[0])
		wantCustodian(t, renamed.VerifyPartials(1, s.cts, partials, proof, s.context), 1)
		if err := s.shares[0].Fits(renamed); !errors.Is(err, threshold.ErrShare) {
			t.Errorf("Fits() error = %v, want ErrShare", err)
		}
	})
}

func TestABentPartialNamesItsCustodian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		some := s.some(t, s.committee.K)
		liar, i := some[0], rapid.IntRange(0, len(s.cts)-1).Draw(t, "item")
		partials, proof := s.release(t, liar)
		// A good point, but another one: that of an invented ciphertext.
		var message [32]byte
		invented, err := s.committee.Encrypt(message, nil)
		if err != nil {
			t.Fatal(err)
		}
		honest := partials[i]
		copy(partials[i][:], invented[32:64])
		wantCustodian(t, s.committee.VerifyPartials(liar.Index(), s.cts, partials, proof, s.context), liar.Index())

		gathered := s.gather(t, some, i)
		gathered[liar.Index()] = partials[i]
		got, err := s.committee.Combine(s.cts[i], s.labels[i], gathered)
		if err != nil {
			t.Fatal(err)
		}
		if got == s.messages[i] {
			t.Error("it opened with a bent partial")
		}

		// And any change of its bytes.
		partials[i] = honest
		at := rapid.IntRange(0, 31).Draw(t, "byte")
		partials[i][at] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		wantCustodian(t, s.committee.VerifyPartials(liar.Index(), s.cts, partials, proof, s.context), liar.Index())
	})
}

func TestABentProofNamesItsCustodian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		share := s.some(t, 1)[0]
		partials, proof := s.release(t, share)
		proof[rapid.IntRange(0, 63).Draw(t, "byte")] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		wantCustodian(t, s.committee.VerifyPartials(share.Index(), s.cts, partials, proof, s.context), share.Index())
	})
}

func TestAPartialReplayedFromAnotherCiphertextNamesItsCustodian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		share := s.some(t, 1)[0]
		partials, proof := s.release(t, share)
		i := rapid.IntRange(0, len(s.cts)-1).Draw(t, "item")
		var message [32]byte
		ct, err := s.committee.Encrypt(message, s.labels[i])
		if err != nil {
			t.Fatal(err)
		}
		s.cts[i] = ct
		wantCustodian(t, s.committee.VerifyPartials(share.Index(), s.cts, partials, proof, s.context), share.Index())
	})
}

func TestAProofHoldsForItsContextCustodianAndOrderAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		share := s.some(t, 1)[0]
		partials, proof := s.release(t, share)
		verify := func(index int, cts []threshold.Ciphertext, partials []threshold.Partial, context []byte) error {
			return s.committee.VerifyPartials(index, cts, partials, proof, context)
		}
		wantCustodian(t, verify(share.Index(), s.cts, partials, append(slices.Clone(s.context), 0)), share.Index())
		wantCustodian(t, verify(share.Index(), s.cts, partials[1:], s.context), share.Index())
		if other := share.Index()%s.committee.N + 1; other != share.Index() {
			wantCustodian(t, verify(other, s.cts, partials, s.context), other)
		}
		for _, index := range []int{-1, 0, s.committee.N + 1} {
			wantCustodian(t, verify(index, s.cts, partials, s.context), index)
		}
		if len(s.cts) > 1 {
			slices.Reverse(s.cts)
			slices.Reverse(partials)
			wantCustodian(t, verify(share.Index(), s.cts, partials, s.context), share.Index())
			wantCustodian(t, verify(share.Index(), s.cts[1:], partials[1:], s.context), share.Index())
		}
	})
}

func TestAnsweringTwiceTellsNothingNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		share := s.some(t, 1)[0]
		first, proof1 := s.release(t, share)
		second, proof2 := s.release(t, share)
		if !slices.Equal(first, second) {
			t.Error("the partials differ")
		}
		if proof1 == proof2 {
			t.Error("the proofs have one nonce")
		}
	})
}

func TestBatchesThatMakeNoSenseAreRefused(t *testing.T) {
	c, shares, err := dkg.Deal("test", 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := c.Encrypt([32]byte{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	huge := make([]threshold.Ciphertext, threshold.MaxBatch+1)
	_, _, none := shares[0].Release(nil, nil)
	_, _, tooMany := shares[0].Release(huge, nil)
	for name, err := range map[string]error{
		"verify nothing":       c.Verify(nil, nil),
		"verify too many":      c.Verify(huge, make([][]byte, len(huge))),
		"a label too few":      c.Verify([]threshold.Ciphertext{ct}, nil),
		"a label too many":     c.Verify([]threshold.Ciphertext{ct}, make([][]byte, 2)),
		"release nothing":      none,
		"release too many":     tooMany,
		"partials for nothing": c.VerifyPartials(1, nil, nil, threshold.Proof{}, nil),
	} {
		if !errors.Is(err, threshold.ErrBatch) {
			t.Errorf("%s: error %v, want ErrBatch", name, err)
		}
	}
}

func TestManyMayUseOneCommitteeAndShare(t *testing.T) {
	committee, shares, err := dkg.Deal("test", 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			message, label := [32]byte{byte(i)}, []byte{byte(i)}
			ct, err := committee.Encrypt(message, label)
			if err != nil {
				t.Error(err)
				return
			}
			batch := []threshold.Ciphertext{ct, ct}
			partials, proof, err := shares[0].Release(batch, label)
			if err := errors.Join(err, committee.Verify(batch, [][]byte{label, label}),
				committee.VerifyPartials(1, batch, partials, proof, label)); err != nil {
				t.Error(err)
				return
			}
			if got, err := committee.Combine(ct, label, map[int]threshold.Partial{1: partials[0]}); err != nil || got != message {
				t.Errorf("opened to something else, %v", err)
			}
		})
	}
	all.Wait()
}

func TestCombineNamesABadlyEncodedPartial(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := draw(t)
		partials := s.gather(t, s.shares[:s.committee.K], 0)
		index := rapid.IntRange(1, s.committee.K).Draw(t, "custodian")
		partials[index] = rapid.SampledFrom([]threshold.Partial{{}, {1}, {31: 0xff}}).Draw(t, "encoding")
		_, err := s.committee.Combine(s.cts[0], s.labels[0], partials)
		wantCustodian(t, err, index)
		delete(partials, index)
		partials[s.committee.N+1] = threshold.Partial{}
		_, err = s.committee.Combine(s.cts[0], s.labels[0], partials)
		wantCustodian(t, err, s.committee.N+1)
	})
}

// String keeps a failing check's report to what matters.
func (s setup) String() string {
	return fmt.Sprintf("%d of %d, %d liars", s.committee.K, s.committee.N, s.committee.F)
}
