package records

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

// lab seals, and holds every share to open with.
type lab struct {
	sealer     *Sealer
	committee  *threshold.Committee
	shares     []*threshold.Share
	attributes *AttributeKey
}

func newLab(t testing.TB) *lab {
	t.Helper()
	committee, shares, err := dkg.Deal("custodians-1", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewAttributeKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := NewSealer(SealerConfig{Tenant: "hospital.example", Committee: committee, Attributes: key})
	if err != nil {
		t.Fatal(err)
	}
	return &lab{sealer: sealer, committee: committee, shares: shares, attributes: key}
}

// root brings the shares together, as no custodian would.
func (l *lab) root(t testing.TB, e *Envelope) [32]byte {
	t.Helper()
	item := e.Item()
	ciphertext, label := threshold.Ciphertext(e.Leaves[0].Ciphertext), item.LeafLabel(&e.Leaves[0])
	partials := map[int]threshold.Partial{}
	for _, share := range l.shares[:l.committee.K] {
		released, _, err := share.Release([]threshold.Ciphertext{ciphertext}, nil)
		if err != nil {
			t.Fatal(err)
		}
		partials[share.Index()] = released[0]
	}
	root, err := l.committee.Combine(ciphertext, label, partials)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func parse(t testing.TB, format string, args ...any) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse(fmt.Appendf(nil, format, args...), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const canary = "Canary Canarson"

func (l *lab) sealed(t testing.TB) (*fhir.Resource, *Envelope) {
	t.Helper()
	r := parse(t, `{"resourceType":"Observation","id":"o1","status":"final","code":{"text":%q},"subject":{"reference":"Patient/p1","display":%q},"valueQuantity":{"value":72.50}}`, canary, canary)
	e, err := l.sealer.Seal(r, policy.Resource{Type: "Observation", ID: "o1", Patient: "Patient/p1", Conf: "R", Codes: []string{"http://loinc.org|44249-1"}}, 7)
	if err != nil {
		t.Fatal(err)
	}
	return r, e
}

func TestEnvelopeSurvivesItsEncoding(t *testing.T) {
	l := newLab(t)
	r, e := l.sealed(t)
	again, err := DecodeEnvelope(e.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != e.Digest() {
		t.Error("digest changed")
	}
	root := l.root(t, again)
	got, err := again.open(&root)
	if err != nil || !bytes.Equal(got.JSON(), r.JSON()) {
		t.Errorf("open() = %v, %v, want %s", got, err, r.JSON())
	}
	item := again.Item()
	leaf, err := DecodeLeaf(item.Leaf)
	if err != nil || item.Digest(leaf) != e.Digest() {
		t.Errorf("what custodians are sent has another digest (%v)", err)
	}
	a, err := l.attributes.Open(again.Attributes, "Observation", "o1", 7)
	if err != nil || a.Conf != "R" || a.Patient != "Patient/p1" {
		t.Errorf("attributes %+v, %v", a, err)
	}
}

func TestSealingTwiceHasNothingInCommon(t *testing.T) {
	l := newLab(t)
	_, a := l.sealed(t)
	_, b := l.sealed(t)
	if bytes.Equal(a.Payload, b.Payload) || bytes.Equal(a.Attributes, b.Attributes) || a.Label.Com == b.Label.Com ||
		bytes.Equal(a.Leaves[0].Ciphertext, b.Leaves[0].Ciphertext) {
		t.Error("two sealings share something")
	}
}

func TestNothingOfTheContentIsInEnvelopeOrSkeleton(t *testing.T) {
	l := newLab(t)
	r, e := l.sealed(t)
	skeleton, err := Skeleton(r, e)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"envelope": e.Encode(), "skeleton": skeleton.JSON()} {
		for _, plain := range []string{canary, "Canarson", "72.50", "44249"} {
			if bytes.Contains(data, []byte(plain)) {
				t.Errorf("%q is in the %s", plain, name)
			}
		}
	}
}

// Every single byte of an envelope is bound: whoever flips one in the store is
// found by the decoder, by the digest, or by the ciphers.
func TestEveryByteOfAnEnvelopeIsBound(t *testing.T) {
	l := newLab(t)
	_, e := l.sealed(t)
	root, digest, encoded := l.root(t, e), e.Digest(), e.Encode()
	for i := range encoded {
		bent := bytes.Clone(encoded)
		bent[i] ^= 0x10
		d, err := DecodeEnvelope(bent)
		if err != nil {
			continue
		}
		_, openErr := d.open(&root)
		if d.Digest() == digest || openErr == nil && bytes.Equal(d.Leaves[0].Ciphertext, e.Leaves[0].Ciphertext) && d.Leaves[0].Committee == e.Leaves[0].Committee {
			t.Errorf("byte %d may be flipped", i)
		}
	}
}

func TestAnotherSecretDoesNotOpen(t *testing.T) {
	l := newLab(t)
	_, e := l.sealed(t)
	root := l.root(t, e)
	root[0] ^= 1
	if _, err := e.open(&root); !errors.Is(err, ErrBroken) || e.commits(&root) {
		t.Errorf("open() = %v, want ErrBroken", err)
	}
}

func TestEnvelopesThatSuiteOneDoesNotHaveAreRefused(t *testing.T) {
	l := newLab(t)
	for name, bend := range map[string]func(*Envelope){
		"version":          func(e *Envelope) { e.Version = 2 },
		"suite":            func(e *Envelope) { e.Label.Suite = 2 },
		"no tenant":        func(e *Envelope) { e.Label.Tenant = "" },
		"odd tenant":       func(e *Envelope) { e.Label.Tenant = "a b" },
		"unknown type":     func(e *Envelope) { e.Label.Type = "Nonsense" },
		"odd id":           func(e *Envelope) { e.Label.ID = "a/b" },
		"revision zero":    func(e *Envelope) { e.Label.Revision = 0 },
		"epoch":            func(e *Envelope) { e.Label.Epoch = 1 },
		"no patient":       func(e *Envelope) { e.Label.Compartment = "Group/1" },
		"odd compartment":  func(e *Envelope) { e.Label.Compartment = "Patient/p1/_history/1" },
		"another tree":     func(e *Envelope) { e.Tree = "2 of custodians" },
		"loose tree":       func(e *Envelope) { e.Tree = "3  of custodians" },
		"no tree":          func(e *Envelope) { e.Tree = "" },
		"attributes":       func(e *Envelope) { e.Attributes = append([]byte{1}, e.Attributes...) },
		"no attributes":    func(e *Envelope) { e.Attributes = []byte{} },
		"no leaf":          func(e *Envelope) { e.Leaves = []Leaf{} },
		"two leaves":       func(e *Envelope) { e.Leaves = append(e.Leaves, e.Leaves[0]) },
		"a leaf's path":    func(e *Envelope) { e.Leaves[0].Path = []uint8{1} },
		"no committee":     func(e *Envelope) { e.Leaves[0].Committee = "" },
		"short ciphertext": func(e *Envelope) { e.Leaves[0].Ciphertext = e.Leaves[0].Ciphertext[1:] },
		"shred":            func(e *Envelope) { e.Shred = []byte{1} },
		"short payload":    func(e *Envelope) { e.Payload = e.Payload[:100] },
		"long terms":       func(e *Envelope) { e.Terms = make([]byte, maxTerms+1) },
	} {
		_, e := l.sealed(t)
		if _, err := DecodeEnvelope(e.Encode()); err != nil {
			t.Fatal(err)
		}
		bend(e)
		if _, err := DecodeEnvelope(e.Encode()); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
		}
	}
}

func TestSealRefusesWhatWouldNotOpen(t *testing.T) {
	l := newLab(t)
	r := parse(t, `{"resourceType":"Observation","id":"o1","status":"final"}`)
	good := policy.Resource{Type: "Observation", ID: "o1", Patient: "Patient/p1"}
	if _, err := l.sealer.Seal(r, good, 1); err != nil {
		t.Fatal(err)
	}
	other := good
	other.ID = "o2"
	if _, err := l.sealer.Seal(r, other, 1); err == nil {
		t.Error("sealed under another's attributes")
	}
	if _, err := l.sealer.Seal(r, good, 0); err == nil {
		t.Error("sealed as revision zero")
	}
	foreign := good
	foreign.Patient = "https://elsewhere/Patient/p1"
	if _, err := l.sealer.Seal(r, foreign, 1); err == nil {
		t.Error("sealed into a foreign compartment")
	}
	huge := good
	for i := range 4000 {
		huge.Codes = append(huge.Codes, fmt.Sprintf("http://loinc.org|%d-0", i))
	}
	if _, err := l.sealer.Seal(r, huge, 1); err == nil {
		t.Error("sealed attributes beyond the limit")
	}
	for _, typ := range []string{"Bundle", "Parameters", "CapabilityStatement"} {
		_, err := l.sealer.Seal(parse(t, `{"resourceType":%q,"id":"x"}`, typ), policy.Resource{Type: typ, ID: "x"}, 1)
		if unsupported, ok := errors.AsType[*UnsupportedTypeError](err); !ok || unsupported.Type != typ {
			t.Errorf("%s: %v, want *UnsupportedTypeError", typ, err)
		}
	}
	if _, err := l.sealer.Seal(parse(t, `{"resourceType":"Observation"}`), policy.Resource{Type: "Observation"}, 1); err == nil {
		t.Error("sealed without an id")
	}
}

func TestSealerRefusesTreesItDoesNotServe(t *testing.T) {
	l := newLab(t)
	for _, tree := range []string{"patient AND 3 of custodians", "2 of custodians"} {
		_, err := NewSealer(SealerConfig{Tenant: "t", Committee: l.committee, Attributes: l.attributes, Tree: tree})
		if !errors.Is(err, ErrUnsupportedTree) {
			t.Errorf("%q: %v, want ErrUnsupportedTree", tree, err)
		}
	}
	if _, err := NewSealer(SealerConfig{Tenant: "t", Committee: l.committee, Attributes: l.attributes, Tree: "3 of custodians"}); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]SealerConfig{
		"tenant":     {Committee: l.committee, Attributes: l.attributes},
		"committee":  {Tenant: "t", Attributes: l.attributes},
		"attributes": {Tenant: "t", Committee: l.committee},
		"tree":       {Tenant: "t", Committee: l.committee, Attributes: l.attributes, Tree: "("},
	} {
		if _, err := NewSealer(c); err == nil {
			t.Errorf("without a %s there is a sealer", name)
		}
	}
}

func TestAttributesOpenForTheirOwnRevisionAlone(t *testing.T) {
	l := newLab(t)
	a := policy.Resource{Type: "Observation", ID: "o1", Patient: "Patient/p1", Conf: "N"}
	sealed, err := l.attributes.Seal(a, 3)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.attributes.Open(sealed, "Observation", "o1", 3); err != nil || got.Conf != "N" {
		t.Errorf("Open() = %+v, %v", got, err)
	}
	for name, open := range map[string]func() (policy.Resource, error){
		"type":     func() (policy.Resource, error) { return l.attributes.Open(sealed, "Condition", "o1", 3) },
		"id":       func() (policy.Resource, error) { return l.attributes.Open(sealed, "Observation", "o2", 3) },
		"revision": func() (policy.Resource, error) { return l.attributes.Open(sealed, "Observation", "o1", 4) },
		"short":    func() (policy.Resource, error) { return l.attributes.Open(sealed[:20], "Observation", "o1", 3) },
		"long": func() (policy.Resource, error) {
			return l.attributes.Open(make([]byte, MaxAttributes+1), "Observation", "o1", 3)
		},
	} {
		if _, err := open(); err == nil {
			t.Errorf("another %s opens them", name)
		}
	}
	few, err := l.attributes.Seal(policy.Resource{Type: "Observation", ID: "o1", Codes: []string{"http://loinc.org|1-1"}}, 3)
	if err != nil || len(few) != len(sealed) {
		t.Errorf("the number of codes shows: %d and %d bytes (%v)", len(few), len(sealed), err)
	}
}

func TestKeysDoNotPrintThemselves(t *testing.T) {
	l := newLab(t)
	var out strings.Builder
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", l.attributes)
	fmt.Fprintf(&out, "%v %+v %#v %s %x %d", l.attributes, l.attributes, l.attributes, l.attributes, l.attributes, l.attributes)
	if secret := l.attributes.Secret(); strings.Contains(out.String(), fmt.Sprintf("%x", secret)) || strings.Contains(out.String(), fmt.Sprint(secret[0], " ", secret[1])) || strings.Count(out.String(), "[redacted]") != 7 {
		t.Errorf("printed %s", out.String())
	}
	again, err := ParseAttributeKey(l.attributes.Secret())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := l.attributes.Seal(policy.Resource{Type: "Patient", ID: "p"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Open(sealed, "Patient", "p", 1); err != nil {
		t.Error(err)
	}
	if _, err := ParseAttributeKey(make([]byte, 31)); err == nil {
		t.Error("31 bytes are a key")
	}
}

func BenchmarkSeal(b *testing.B) {
	l := newLab(b)
	r := parse(b, `{"resourceType":"Observation","id":"o1","status":"final","code":{"text":%q},"subject":{"reference":"Patient/p1"}}`, canary)
	a := policy.Resource{Type: "Observation", ID: "o1", Patient: "Patient/p1", Conf: "N", Codes: []string{"http://loinc.org|8867-4"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.sealer.Seal(r, a, 1); err != nil {
			b.Fatal(err)
		}
	}
}
