package threshold

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"filippo.io/edwards25519/field"
	"github.com/gtank/ristretto255"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

func readVectors(t *testing.T, name string, to any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unhexAll splits what the vectors of RFC 9497 join with commas.
func unhexAll(t *testing.T, s string) [][]byte {
	return lo.Map(strings.Split(s, ","), func(s string, _ int) []byte { return unhex(t, s) })
}

func TestRFC9496AppendixA(t *testing.T) {
	var v struct {
		Multiples []string                         `json:"A.1 multiples of the generator"`
		Invalid   []string                         `json:"A.2 invalid encodings"`
		Uniform   []struct{ Input, Output string } `json:"A.3 group elements from uniform bytes"`
		Roots     []struct {
			U, V, R   string
			WasSquare bool
		} `json:"A.4 square root of a ratio"`
	}
	readVectors(t, "rfc9496.json", &v)
	if len(v.Multiples) != 16 || len(v.Invalid) != 29 || len(v.Uniform) != 11 || len(v.Roots) != 6 {
		t.Fatalf("%d, %d, %d, %d vectors", len(v.Multiples), len(v.Invalid), len(v.Uniform), len(v.Roots))
	}
	for i, want := range v.Multiples {
		got := ristretto{}.BaseMul(ristretto{}.Small(uint64(i)))
		if hex.EncodeToString(got.bytes()) != want {
			t.Errorf("A.1: %d·B = %x, want %s", i, got.bytes(), want)
		}
		decoded, err := decodePoint(unhex(t, want))
		if i == 0 {
			if !errors.Is(err, errIdentity) {
				t.Errorf("A.1: the identity: error %v", err)
			}
			continue
		}
		if err != nil || !(ristretto{}).Equal(decoded, got) {
			t.Errorf("A.1: %d·B does not decode: %v", i, err)
		}
	}
	for _, bad := range v.Invalid {
		if _, err := decodePoint(unhex(t, bad)); !errors.Is(err, errPoint) {
			t.Errorf("A.2: %s: error %v", bad, err)
		}
	}
	for _, u := range v.Uniform {
		p, err := ristretto255.NewIdentityElement().SetUniformBytes(unhex(t, u.Input))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(p.Bytes()); got != u.Output {
			t.Errorf("A.3: %s maps to %s, want %s", u.Input, got, u.Output)
		}
	}
	element := func(s string) *field.Element {
		e, err := new(field.Element).SetBytes(unhex(t, s))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, root := range v.Roots {
		r, wasSquare := new(field.Element).SqrtRatio(element(root.U), element(root.V))
		if !bytes.Equal(r.Bytes(), unhex(t, root.R)) || (wasSquare == 1) != root.WasSquare {
			t.Errorf("A.4: √(%s/%s) = %x, %d", root.U, root.V, r.Bytes(), wasSquare)
		}
	}
}

func TestRFC9380ExpandMessage(t *testing.T) {
	var v struct {
		DST   string
		Tests []struct {
			Msg     string
			Len     string `json:"len_in_bytes"`
			Uniform string `json:"uniform_bytes"`
		}
	}
	readVectors(t, "rfc9380.json", &v)
	if len(v.Tests) != 10 {
		t.Fatalf("%d vectors", len(v.Tests))
	}
	for _, tc := range v.Tests {
		n, err := strconv.ParseInt(tc.Len, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := expand([]byte(v.DST), int(n), []byte(tc.Msg)); hex.EncodeToString(got) != tc.Uniform {
			t.Errorf("expand(%.20q, %d) = %x, want %s", tc.Msg, n, got, tc.Uniform)
		}
	}
}

// The proofs of RFC 9497 come out of, and go into, the functions that make and
// check ours; only the context string is the RFC's.
func TestRFC9497Proofs(t *testing.T) {
	var v struct {
		Suites []struct {
			Mode    byte
			SkSm    string
			PkSm    string
			Vectors []struct {
				Info, BlindedElement, EvaluationElement string
				Proof                                   struct{ Proof, R string }
			}
		}
	}
	readVectors(t, "rfc9497.json", &v)
	checked := 0
	for _, suite := range v.Suites {
		transcript := dleq("OPRFV1-" + string(suite.Mode) + "-ristretto255-SHA512") // §3.1
		key := mustScalar(t, unhex(t, suite.SkSm))
		if got := (ristretto{}).BaseMul(key).bytes(); hex.EncodeToString(got) != suite.PkSm {
			t.Errorf("public key %x, want %s", got, suite.PkSm)
		}
		for i, vector := range suite.Vectors {
			k := key
			c, d := mustPoints(t, vector.BlindedElement), mustPoints(t, vector.EvaluationElement)
			if suite.Mode == 2 { // POPRF, §3.3.3: a tweaked key, and the evaluation the other way about
				info := unhex(t, vector.Info)
				framed := append(binary.BigEndian.AppendUint16([]byte("Info"), uint16(len(info))), info...)
				k = ristretto{}.MulAdd(ristretto{}.Small(1), key, hashToScalar([]byte("HashToScalar-"+transcript), framed))
				c, d = d, c
			}
			public := ristretto{}.BaseMul(k)
			nonce := mustScalar(t, unhex(t, vector.Proof.R))
			challenge, response := tdh2.Prove(ristretto{}, transcript, k, public, c, d, func(_, _ *point) *scalar { return nonce })
			proof := append(challenge.Bytes(), response.Bytes()...)
			if hex.EncodeToString(proof) != vector.Proof.Proof {
				t.Errorf("mode %d, vector %d: proof %x, want %s", suite.Mode, i, proof, vector.Proof.Proof)
			}
			if !tdh2.VerifyProof(ristretto{}, transcript, public, c, d, challenge, response) {
				t.Errorf("mode %d, vector %d: does not verify", suite.Mode, i)
			}
			if tdh2.VerifyProof(ristretto{}, transcript+"x", public, c, d, challenge, response) {
				t.Errorf("mode %d, vector %d: verifies in another context", suite.Mode, i)
			}
			checked++
		}
	}
	if checked != 6 {
		t.Errorf("%d vectors, want 6", checked)
	}
}

func mustScalar(t *testing.T, b []byte) *scalar {
	t.Helper()
	s, err := decodeScalar(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPoints(t *testing.T, s string) []*point {
	t.Helper()
	return lo.Map(unhexAll(t, s), func(b []byte, _ int) *point {
		p, err := decodePoint(b)
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}
