package records

import (
	"bytes"
	"errors"
	"testing"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
)

// samples are one well-formed encoding of each kind.
type samples struct {
	label, leaf, envelope, request, round, answer []byte
}

func sampled(t testing.TB) samples {
	l := newLab(t)
	_, e := l.sealed(t)
	item := e.Item()
	hash := LabelHash(item.Label)
	request := Request{
		SignIn: 3, Action: "read", Purpose: "TREAT", Scopes: []string{"user/*.rs"}, Labels: [][]byte{hash[:]},
		Reader: make([]byte, readerSize), NotAfter: 1_800_000_000_000, Nonce: make([]byte, nonceSize),
	}
	round := Round{
		ID: make([]byte, RoundIDSize), Keys: []chain.LogKey{chain.NewLogKey("Patient/p1")},
		Batch:    chain.Batch{First: 4, Checkpoint: []byte("hospital\n4\nAAAA\n\n— x y\n")},
		Releases: []Release{{Index: 3, Request: request.Encode(), Items: []Item{item}}},
	}
	answer := Answer{
		Custodian: 2, Size: 4, Keys: 2, Cosignature: []byte("— c AAAA\n"), Proof: make([]byte, 64), Signature: make([]byte, 64),
		Releases: []ReleaseAnswer{{Box: []byte("box")}, {Refusal: "no-grant"}},
	}
	return samples{
		label: item.Label, leaf: item.Leaf, envelope: e.Encode(), request: request.Encode(), round: round.Encode(), answer: answer.Encode(),
	}
}

func TestEveryEncodingIsReadBack(t *testing.T) {
	s := sampled(t)
	for name, try := range decoders() {
		if again, err := try(s.of(name)); err != nil || !bytes.Equal(again, s.of(name)) {
			t.Errorf("%s: %v, or another encoding came back", name, err)
		}
		for what, bad := range map[string][]byte{
			"nothing":          nil,
			"trailing bytes":   append(bytes.Clone(s.of(name)), 0),
			"half of it":       s.of(name)[:len(s.of(name))/2],
			"null":             {0xf6},
			"a list":           {0x80},
			"an empty map":     {0xa0},
			"indefinite":       {0xbf, 0xff},
			"unknown field":    {0xa1, 0x18, 0x63, 0x00},
			"duplicate fields": {0xa2, 0x01, 0x01, 0x01, 0x01},
			"a tag":            {0xc1, 0x00},
		} {
			if _, err := try(bad); !errors.Is(err, ErrEncoding) {
				t.Errorf("%s: %s: %v, want ErrEncoding", name, what, err)
			}
		}
	}
}

func TestOversizedEncodingsAreRefusedUnread(t *testing.T) {
	for name, try := range decoders() {
		if _, err := try(make([]byte, MaxRound+1)); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
		}
	}
}

func (s samples) of(name string) []byte {
	return map[string][]byte{
		"label": s.label, "leaf": s.leaf, "envelope": s.envelope, "request": s.request, "round": s.round, "answer": s.answer,
	}[name]
}

func decoders() map[string]func([]byte) ([]byte, error) {
	return map[string]func([]byte) ([]byte, error){
		"label":    again(DecodeLabel, (*Label).Encode),
		"leaf":     again(DecodeLeaf, (*Leaf).Encode),
		"envelope": again(DecodeEnvelope, (*Envelope).Encode),
		"request":  again(DecodeRequest, (*Request).Encode),
		"round":    again(DecodeRound, (*Round).Encode),
		"answer":   again(DecodeAnswer, (*Answer).Encode),
	}
}

func again[T any](decode func([]byte) (*T, error), encode func(*T) []byte) func([]byte) ([]byte, error) {
	return func(data []byte) ([]byte, error) {
		v, err := decode(data)
		if err != nil {
			return nil, err
		}
		return encode(v), nil
	}
}

// fuzzDecoder holds a decoder to its word: what it takes, it takes in one form
// (canonical says so), and it never panics.
func fuzzDecoder(f *testing.F, name string, canonical bool) {
	f.Add(sampled(f).of(name))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decoders()[name](data)
		if err == nil && canonical && !bytes.Equal(got, data) {
			t.Errorf("%x is taken for %x", data, got)
		}
		if err != nil && !errors.Is(err, ErrEncoding) {
			t.Errorf("%v does not wrap ErrEncoding", err)
		}
	})
}

func FuzzLabel(f *testing.F)    { fuzzDecoder(f, "label", true) }
func FuzzLeaf(f *testing.F)     { fuzzDecoder(f, "leaf", true) }
func FuzzEnvelope(f *testing.F) { fuzzDecoder(f, "envelope", true) }
func FuzzRequest(f *testing.F)  { fuzzDecoder(f, "request", true) }
func FuzzRound(f *testing.F)    { fuzzDecoder(f, "round", false) }
func FuzzAnswer(f *testing.F)   { fuzzDecoder(f, "answer", false) }

func FuzzSkeleton(f *testing.F) {
	l := newLab(f)
	r, e := l.sealed(f)
	skeleton, err := Skeleton(r, e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(skeleton.JSON())
	f.Add(r.JSON())
	f.Add([]byte(`{"resourceType":"Binary","id":"b","contentType":"application/vnd.wardkey.envelope+cbor","data":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := fhir.Parse(data, fhir.Limits{})
		if err != nil {
			return
		}
		e, err := FromSkeleton(r)
		if _, ok := errors.AsType[*SkeletonError](err); err != nil && !ok {
			t.Errorf("%v is no *SkeletonError", err)
		}
		if err == nil && (e.Label.Type != r.Type() || e.Label.ID != r.ID()) {
			t.Error("an envelope came out of another's skeleton")
		}
	})
}

func TestRoundsBeyondTheLimitsAreRefused(t *testing.T) {
	for name, r := range map[string]Round{
		"no id":             {},
		"too many releases": {ID: make([]byte, RoundIDSize), Releases: make([]Release, MaxReleases+1)},
		"too many items":    {ID: make([]byte, RoundIDSize), Releases: []Release{{Items: make([]Item, MaxItems+1)}}},
		"too many in total": {ID: make([]byte, RoundIDSize), Releases: many(MaxRoundItems/MaxItems+1, Release{Items: make([]Item, MaxItems)})},
	} {
		if err := CheckRound(&r); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
		}
	}
}

func many[T any](n int, v T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}
