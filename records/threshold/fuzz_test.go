package threshold_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/wardkey/wardkey/records/threshold"
)

// seeds are the known answers, by kind.
func seeds(f *testing.F) (committee []byte, shares, cts, partials, proofs [][]byte) {
	f.Helper()
	var known struct {
		Committee  string
		Shares     []string
		Encryption []struct{ Ciphertext string }
		Release    []struct {
			Proof    string
			Partials []string
		}
	}
	data, err := os.ReadFile("testdata/suite1.json")
	if err != nil {
		f.Fatal(err)
	}
	if err := json.Unmarshal(data, &known); err != nil {
		f.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	for _, s := range known.Shares {
		shares = append(shares, unhex(s))
	}
	for _, e := range known.Encryption {
		cts = append(cts, unhex(e.Ciphertext))
	}
	for _, r := range known.Release {
		proofs = append(proofs, unhex(r.Proof))
		for _, p := range r.Partials {
			partials = append(partials, unhex(p))
		}
	}
	return unhex(known.Committee), shares, cts, partials, proofs
}

// add seeds what is right, cut short, too long, all zeros and all ones.
func add(f *testing.F, seeds ...[]byte) {
	for _, b := range seeds {
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(bytes.Clone(b), 0))
		f.Add(make([]byte, len(b)))
		f.Add(bytes.Repeat([]byte{0xff}, len(b)))
	}
	f.Add([]byte(nil))
}

func FuzzCiphertextHasOneEncoding(f *testing.F) {
	_, _, cts, _, _ := seeds(f)
	add(f, cts...)
	f.Fuzz(func(t *testing.T, b []byte) {
		ct, err := threshold.ParseCiphertext(b)
		if err == nil {
			if !bytes.Equal(ct[:], b) {
				t.Errorf("%x was read as %x", b, ct)
			}
			return
		}
		if _, ok := errors.AsType[*threshold.InvalidError](err); !ok {
			t.Errorf("error %v is no InvalidError", err)
		}
	})
}

func FuzzPartialHasOneEncoding(f *testing.F) {
	_, _, _, partials, _ := seeds(f)
	add(f, partials...)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := threshold.ParsePartial(b); err == nil && !bytes.Equal(p[:], b) {
			t.Errorf("%x was read as something else", b)
		}
	})
}

func FuzzProofHasOneEncoding(f *testing.F) {
	_, _, _, _, proofs := seeds(f)
	add(f, proofs...)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := threshold.ParseProof(b); err == nil && !bytes.Equal(p[:], b) {
			t.Errorf("%x was read as %x", b, p)
		}
	})
}

func FuzzShareHasOneEncoding(f *testing.F) {
	_, shares, _, _, _ := seeds(f)
	add(f, shares...)
	f.Fuzz(func(t *testing.T, b []byte) {
		share, err := threshold.ParseShare(b)
		if err == nil {
			if !bytes.Equal(share.Secret(), b) {
				t.Errorf("%x was read as another", b)
			}
			return
		}
		if !errors.Is(err, threshold.ErrShare) {
			t.Errorf("error %v is no ErrShare", err)
		}
	})
}

func FuzzCommitteeHasOneEncoding(f *testing.F) {
	committee, _, _, _, _ := seeds(f)
	add(f, committee)
	f.Fuzz(func(t *testing.T, b []byte) {
		var c threshold.Committee
		if err := c.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, threshold.ErrCommittee) {
				t.Errorf("error %v is no ErrCommittee", err)
			}
			return
		}
		if again, err := c.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x was read as %x, %v", b, again, err)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzCommitteeTextHasOneEncoding(f *testing.F) {
	committee, _, _, _, _ := seeds(f)
	var c threshold.Committee
	if err := c.UnmarshalBinary(committee); err != nil {
		f.Fatal(err)
	}
	text, err := c.MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	add(f, text)
	f.Add(append(bytes.Clone(text), '='))
	f.Add(append(bytes.Clone(text), '\n'))
	f.Fuzz(func(t *testing.T, text []byte) {
		var c threshold.Committee
		if err := c.UnmarshalText(text); err != nil {
			return
		}
		if again, err := c.MarshalText(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%q was read as %q, %v", text, again, err)
		}
	})
}

// Only what the committee's own writers made verifies.
func FuzzForgedCiphertextsDoNotVerify(f *testing.F) {
	committee, _, cts, _, _ := seeds(f)
	var c threshold.Committee
	if err := c.UnmarshalBinary(committee); err != nil {
		f.Fatal(err)
	}
	label := []byte("Patient/7") // that of the second
	for _, ct := range cts {
		f.Add(ct, label)
		f.Add(ct, []byte("Patient/8"))
	}
	f.Fuzz(func(t *testing.T, b, l []byte) {
		ct, err := threshold.ParseCiphertext(b)
		if err != nil {
			return
		}
		genuine := func(b, l []byte) bool { return bytes.Equal(b, cts[1]) && bytes.Equal(l, label) }
		if err := c.Verify([]threshold.Ciphertext{ct}, [][]byte{l}); (err == nil) != genuine(b, l) && !bytes.Equal(b, cts[0]) && !bytes.Equal(b, cts[2]) {
			t.Errorf("Verify(%x, %q) = %v", b, l, err)
		}
		good := threshold.Ciphertext(cts[1])
		alone := c.Verify([]threshold.Ciphertext{ct}, [][]byte{l})
		batch := c.Verify([]threshold.Ciphertext{good, ct, good}, [][]byte{label, l, label})
		if (alone == nil) != (batch == nil) {
			t.Errorf("alone %v, in a batch %v", alone, batch)
		}
	})
}

// No bytes that are not a custodian's own answer pass for it.
func FuzzForgedAnswersNameTheCustodian(f *testing.F) {
	committee, _, cts, partials, proofs := seeds(f)
	var c threshold.Committee
	if err := c.UnmarshalBinary(committee); err != nil {
		f.Fatal(err)
	}
	batch := make([]threshold.Ciphertext, len(cts))
	for i := range cts {
		batch[i] = threshold.Ciphertext(cts[i])
	}
	genuine := bytes.Join(append(bytes.Split(bytes.Join(partials[:3], nil), nil), proofs[0]), nil)
	f.Add(genuine, []byte("round 1"))
	f.Add(genuine, []byte("round 2"))
	f.Add(bytes.Join([][]byte{partials[3], partials[4], partials[5], proofs[1]}, nil), []byte("round 1"))
	f.Fuzz(func(t *testing.T, answer, context []byte) {
		if len(answer) != 3*32+64 {
			return
		}
		ps := []threshold.Partial{threshold.Partial(answer[:32]), threshold.Partial(answer[32:64]), threshold.Partial(answer[64:96])}
		err := c.VerifyPartials(1, batch, ps, threshold.Proof(answer[96:]), context)
		if bytes.Equal(answer, genuine) && string(context) == "round 1" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if liar, ok := errors.AsType[*threshold.CustodianError](err); !ok || liar.Index != 1 {
			t.Errorf("VerifyPartials(%x, %q) = %v", answer, context, err)
		}
	})
}
