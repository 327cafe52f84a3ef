package policy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

type encoder interface{ Encode() []byte }

// oneSpelling is the law of all decoders: what is decoded encodes to the bytes
// that it was decoded from, so that no two encodings mean the same.
func oneSpelling[T encoder](t *testing.T, data []byte, decode func([]byte) (T, error)) {
	v, err := decode(data)
	if err == nil && !bytes.Equal(v.Encode(), data) {
		t.Errorf("%x is decoded, and encoded as %x", data, v.Encode())
	}
}

func FuzzDecodeSignIn(f *testing.F) {
	h := policytest.New(f, nil)
	f.Add(attempt(h, nil).Encode())
	f.Add(policy.SignIn{}.Encode())
	f.Add(policy.SignIn{Token: "x", Signature: make([]byte, 64)}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		oneSpelling(t, data, policy.DecodeSignIn)
		if h.State.Check(policy.Event{Index: 9, At: h.Now, Kind: policy.KindSignIn, Statement: data}) == nil {
			if st, _ := policy.DecodeSignIn(data); st.Token == "" {
				t.Error("a sign-in without evidence")
			}
		}
	})
}

func FuzzDecodeEnrolment(f *testing.F) {
	h := policytest.New(f, nil)
	key := policytest.Public("a")
	f.Add(policy.Enrolment{Person: "Patient/a", Key: key, Token: h.EnrolToken("Patient/a", key)}.Encode())
	f.Add(policy.Enrolment{Person: "Patient/a", Key: key, Registrars: []policy.Signature{{Signer: "registrar-1", Value: []byte{1}}, {Signer: "registrar-2"}}}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		oneSpelling(t, data, policy.DecodeEnrolment)
		_ = h.State.Check(policy.Event{Index: 9, At: h.Now, Kind: policy.KindEnrol, Statement: data})
	})
}

func FuzzDecodeSignedGrant(f *testing.F) {
	h := policytest.New(f, nil)
	h.Enrol("Patient/a", "Patient/a")
	f.Add(policytest.Sign(vitals(f, h, "Patient/a", "Practitioner/7"), "Patient/b", "").Encode())
	f.Add(policytest.Sign(fullGrant(), "Patient/b", "privacy").Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		oneSpelling(t, data, policy.DecodeSignedGrant)
		if h.State.Check(policy.Event{Index: 9, At: h.Now, Kind: policy.KindGrant, Patient: "Patient/a", Statement: data}) == nil {
			t.Error("a grant that nobody signed")
		}
	})
}

func FuzzDecodeWithdrawal(f *testing.F) {
	h := policytest.New(f, nil)
	g := vitals(f, h, "Patient/a", "Practitioner/7")
	h.Grant(g)
	f.Add(policytest.Withdrawal(g, "Patient/b", "").Encode())
	f.Add(policy.Withdrawal{Grant: g.ID, Signature: sign("Patient/b", []byte("x"))}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		oneSpelling(t, data, policy.DecodeWithdrawal)
		if h.State.Check(policy.Event{Index: 9, At: h.Now, Kind: policy.KindWithdraw, Patient: "Patient/a", Statement: data}) == nil {
			t.Error("a withdrawal that nobody signed")
		}
	})
}

func FuzzDecodeSignedRelation(f *testing.F) {
	h := policytest.New(f, nil)
	ms := h.Now.UnixMilli()
	r := policy.Relation{V: 1, ID: "r-treats-0001", Kind: policy.Treats, Subject: "Practitioner/7", Patient: "Patient/a", From: ms, Until: ms + 1, Issued: ms}
	f.Add(policytest.SignRelation(r, "registrar-1").Encode())
	f.Add(policytest.SignRelation(r, "Practitioner/8", "Practitioner/9").Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		oneSpelling(t, data, policy.DecodeSignedRelation)
		if h.State.Check(policy.Event{Index: 9, At: h.Now, Kind: policy.KindRelation, Patient: "Patient/a", Statement: data}) == nil {
			t.Error("a relation that nobody signed")
		}
	})
}

func FuzzDecodeResource(f *testing.F) {
	f.Add(pulse("Patient/a").Encode())
	f.Add(policy.Resource{}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) { oneSpelling(t, data, policy.DecodeResource) })
}

// FuzzGrantJSON: a grant that is read says again what was read, and whatever it
// says, an unfinished or strange permit permits nothing of another patient's.
func FuzzGrantJSON(f *testing.F) {
	h, req := reading(f)
	engine := newEngine(f)
	for _, g := range []policy.Grant{fullGrant(), vitals(f, h, "Patient/b", "Practitioner/7")} {
		document, err := json.Marshal(g)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var g policy.Grant
		if json.Unmarshal(data, &g) != nil {
			return
		}
		again, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Grant
		if err := json.Unmarshal(again, &back); err != nil || back.Digest() != g.Digest() {
			t.Fatalf("%s: %v", again, err)
		}
		if g.Validate() != nil || g.Patient == "Patient/x" || g.Patient == "" {
			return
		}
		s := policy.NewState(h.Trust)
		s.Put(g)
		other := req
		other.Resource = pulse("Patient/x")
		if d := engine.Decide(t.Context(), s, other, h.Now); d.Permit {
			t.Errorf("%s permits another patient's record", again)
		}
	})
}

func FuzzParseGrantRequest(f *testing.F) {
	f.Add([]byte(vitalsRequest))
	f.Add([]byte(`{"patient":"Patient/a","effect":"deny","minConfidentiality":"R","data":[{"meaning":"related","ref":"Encounter/1"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := policy.ParseGrantRequest(data)
		if err != nil {
			return
		}
		g, err := policy.Preview(r, noon)
		if err != nil {
			return
		}
		if g.Effect == policy.EffectPermit && (g.Time.Exp == 0 || g.Actors == nil || g.Purposes == nil || g.Labels == nil) {
			t.Errorf("%s becomes a permit without end, actors, purposes or ceiling", data)
		}
		if s := g.Sentence(); s.EN == "" || s.ZH == "" {
			t.Errorf("%s has no sentence", data)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	text, err := policytest.Trust().YAML()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("tenant: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := policy.ParseTrust(data)
		if err != nil {
			return
		}
		again, err := trust.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := policy.ParseTrust(again); err != nil || back.Digest() != trust.Digest() {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func FuzzParseLabelling(f *testing.F) {
	text, err := os.ReadFile("labels.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := policy.ParseLabelling(data)
		if err != nil {
			return
		}
		a, err := policy.Describe(parse(t, `{"resourceType":"Observation","id":"o","code":{"coding":[{"system":"http://loinc.org","code":"1"}]}}`), l, noon)
		if err != nil || a.Conf == "" || a.Conf == "U" || a.Conf == "L" {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// FuzzParseScopes: what is read is written as v2 scopes that read the same, and
// nothing is allowed that no scope names.
func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"user/*.rs", "patient/Observation.read", "system/Patient.cruds?category=http://x|y&code=http://x|z", "openid fhirUser", "user/*.*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := policy.ParseScopes(strings.Split(text, " "))
		if err != nil {
			return
		}
		again, err := policy.ParseScopes(strings.Fields(s.String()))
		if err != nil || again.String() != s.String() {
			t.Errorf("%q, then %q: %v", s, again, err)
		}
		for _, letter := range []byte("cruds") {
			if s.Allows("Observation", letter, "") && !strings.Contains(text, "Observation.") && !strings.Contains(text, "*.") {
				t.Errorf("%q allows %c", text, letter)
			}
		}
	})
}

// FuzzIDToken: no token but the issuer's own opens a session.
func FuzzIDToken(f *testing.F) {
	h := policytest.New(f, nil)
	st := attempt(h, nil)
	f.Add(st.Token)
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		changed := st
		changed.Token = token
		err := h.State.Check(policy.Event{Index: 9, At: h.Now, Kind: policy.KindSignIn, Statement: changed.Encode()})
		if err == nil && token != st.Token {
			t.Errorf("%q is accepted", token)
		}
	})
}

// FuzzDecide: whatever a request names, without a session nothing is permitted.
func FuzzDecide(f *testing.F) {
	h, _ := reading(f)
	engine := newEngine(f)
	f.Add("Practitioner/7", "read", "TREAT", "Observation", "Patient/a", "N", uint64(3), int64(0))
	f.Fuzz(func(t *testing.T, who, action, purpose, typ, patient, conf string, signIn uint64, at int64) {
		req := policy.Request{
			Subject: policy.Subject{ID: who, Roles: []string{"doctor"}, Client: policytest.App, SignIn: signIn, End: 1 << 60},
			Action:  action, Purpose: purpose, Scopes: allScopes, Resource: policy.Resource{Type: typ, Patient: patient, Conf: conf},
		}
		d := engine.Decide(t.Context(), h.State, req, h.Now.Add(time.Duration(at)))
		if d.Permit && (who != "Practitioner/7" || patient != "Patient/a") && action != policy.Lookup {
			t.Errorf("%+v permitted by %s", req, d.Rule)
		}
	})
}
