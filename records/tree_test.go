package records

import (
	"errors"
	"strings"
	"testing"

	"github.com/samber/lo"
)

func TestAccessTreesAreReadAsWritten(t *testing.T) {
	for text, want := range map[string]Tree{
		"3 of custodians":             {K: 3, Name: "custodians"},
		"  3   of custodians ":        {K: 3, Name: "custodians"},
		"patient":                     {Name: "patient"},
		"patient AND 3 of custodians": {Op: And, Branches: []Tree{{Name: "patient"}, {K: 3, Name: "custodians"}}},
		"(patient OR 2 of trustees) AND 3 of custodians": {Op: And, Branches: []Tree{
			{Op: Or, Branches: []Tree{{Name: "patient"}, {K: 2, Name: "trustees"}}}, {K: 3, Name: "custodians"},
		}},
		"a AND b AND (c)": {Op: And, Branches: []Tree{{Name: "a"}, {Name: "b"}, {Name: "c"}}},
	} {
		got, err := ParseTree(text)
		if err != nil {
			t.Errorf("ParseTree(%q): %v", text, err)
			continue
		}
		if got.Hash() != want.Hash() || got.String() != want.String() {
			t.Errorf("ParseTree(%q) = %s, want %s", text, got, want)
		}
		again, err := ParseTree(got.String())
		if err != nil || again.String() != got.String() {
			t.Errorf("ParseTree(%q) = %s, %v: not canonical", got, again, err)
		}
	}
}

func TestAccessTreesThatMeanNothingAreRefusedWithTheirPlace(t *testing.T) {
	for text, offset := range map[string]int{
		"":                                 0,
		"3":                                1,
		"3 of":                             4,
		"0 of custodians":                  0,
		"256 of custodians":                0,
		"03 of custodians":                 0,
		"3 custodians":                     2,
		"3 of Custodians":                  5,
		"custodians patient":               11,
		"a AND":                            5,
		"a AND b OR c":                     8,
		"(a OR b":                          7,
		"a)":                               1,
		"a & b":                            2,
		"of":                               0,
		"-1 of custodians":                 0,
		strings.Repeat("(", 9) + "a":       8,
		"a OR " + strings.Repeat("b", 600): maxTreeText,
	} {
		_, err := ParseTree(text)
		tree, ok := errors.AsType[*TreeError](err)
		if !ok || tree.Offset != offset {
			t.Errorf("ParseTree(%.20q) = %v, want a *TreeError at %d", text, err, offset)
		}
	}
}

func TestSuiteOneServesOneCommitteeLeafAndSaysSo(t *testing.T) {
	if err := CommitteeTree(3).supported(3); err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"2 of custodians", "patient", "3 of trustees", "patient AND 3 of custodians", "patient OR 3 of custodians",
	} {
		tree, err := ParseTree(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.supported(3); !errors.Is(err, ErrUnsupportedTree) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want ErrUnsupportedTree", text, err)
		}
	}
}

func FuzzTree(f *testing.F) {
	for _, seed := range []string{"3 of custodians", "(patient OR 2 of trustees) AND 3 of custodians", "a AND b OR c", "((((a))))", "1 of 1 of a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, err := ParseTree(text)
		if err != nil {
			return
		}
		again, err := ParseTree(tree.String())
		if err != nil || again.Hash() != tree.Hash() {
			t.Errorf("%q is read as %q, which is read as %v, %v", text, tree, again, err)
		}
		if tree.supported(3) == nil && tree.String() != "3 of custodians" {
			t.Errorf("%q is served", text)
		}
	})
}

func TestPaddingHidesTheLengthAtABoundedCost(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 1020, 1021, 5000, 65_000, 1 << 20, 10 << 20} {
		plain := make([]byte, size)
		framed := pad(plain, payloadFloor)
		if over := float64(len(framed)-size-4) / float64(max(size, payloadFloor)); len(framed) > payloadFloor && over > 0.12 {
			t.Errorf("%d bytes are padded to %d", size, len(framed))
		}
		got, err := unpad(framed)
		if err != nil || len(got) != size {
			t.Errorf("unpad: %d bytes, %v, want %d", len(got), err, size)
		}
	}
	sizes := lo.Uniq(lo.Map(lo.Range(900), func(n int, _ int) int { return len(pad(make([]byte, n), payloadFloor)) }))
	if len(sizes) != 1 {
		t.Errorf("lengths below the floor show: %v", sizes)
	}
	framed := pad([]byte("x"), payloadFloor)
	framed[payloadFloor-1] = 1
	if _, err := unpad(framed); !errors.Is(err, ErrEncoding) {
		t.Errorf("unpad with a stowaway: %v, want ErrEncoding", err)
	}
	for _, bad := range [][]byte{nil, {0, 0, 0}, {0, 0, 0, 1}, {255, 255, 255, 255, 0}} {
		if _, err := unpad(bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("unpad(%v) = %v, want ErrEncoding", bad, err)
		}
	}
}
