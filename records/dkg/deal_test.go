package dkg

import (
	"errors"
	"testing"

	"github.com/wardkey/wardkey/records/threshold"
)

func TestDealtSharesFitTheirCommittee(t *testing.T) {
	for _, size := range []struct{ n, k, f int }{{1, 1, 0}, {4, 3, 1}, {5, 3, 0}, {7, 5, 2}, {255, 171, 84}} {
		committee, shares, err := Deal("test", size.n, size.k, size.f)
		if err != nil {
			t.Fatalf("Deal(%+v): %v", size, err)
		}
		if len(shares) != size.n || committee.N != size.n || committee.K != size.k || committee.F != size.f {
			t.Fatalf("Deal(%+v) made %d shares of %d", size, len(shares), committee.N)
		}
		for i, share := range shares {
			if share.Index() != i+1 {
				t.Errorf("share %d is for custodian %d", i, share.Index())
			}
			if err := share.Fits(committee); err != nil {
				t.Errorf("share %d: %v", i, err)
			}
		}
	}
}

func TestTwoDealsShareNothing(t *testing.T) {
	a, shares, err := Deal("test", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := Deal("test", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a.Key == b.Key {
		t.Error("two deals have one public key")
	}
	if err := shares[0].Fits(b); !errors.Is(err, threshold.ErrShare) {
		t.Errorf("a share of another deal fits: %v", err)
	}
}

func TestDealRefusesUnsafeNumbers(t *testing.T) {
	for name, size := range map[string]struct {
		id      string
		n, k, f int
	}{
		"two histories could open":  {"test", 4, 2, 1},
		"threshold above everybody": {"test", 4, 5, 1},
		"no threshold":              {"test", 4, 0, 0},
		"nobody":                    {"test", 0, 0, 0},
		"too many":                  {"test", 256, 200, 1},
		"negative liars":            {"test", 4, 3, -1},
		"no id":                     {"", 4, 3, 1},
		"an id that is not plain":   {"a b", 4, 3, 1},
		"negative count":            {"test", -1, 1, 0},
	} {
		if _, _, err := Deal(size.id, size.n, size.k, size.f); !errors.Is(err, threshold.ErrCommittee) {
			t.Errorf("%s: error %v, want ErrCommittee", name, err)
		}
	}
}
