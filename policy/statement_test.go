package policy_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// fullGrant says something in every field.
func fullGrant() policy.Grant {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixMilli()
	return policy.Grant{
		V: 1, ID: "g-everything-1", Src: &policy.Source{Ref: "Consent/1/_history/3", SHA256: "ab12"}, Patient: "Patient/a",
		Layer: policy.LayerGrant, Effect: policy.EffectPermit, Path: []int{0, 2}, Parent: "g-parent-0001", Status: policy.StatusActive,
		Time:      policy.Time{Nbf: noon, Exp: noon + 5_400_001, Zone: "Asia/Shanghai", NbfOffset: 480, ExpOffset: 480},
		Treatment: &policy.Treatment{Until: noon + 60_000, Offset: 480, Doctor: "Practitioner/7"},
		Hard:      true, Replaces: []string{"g-before-0001"},
		DataTime: &policy.Span{From: noon - 86_400_000, To: noon, FromOffset: 480, ToOffset: 480},
		Actors:   []policy.Actor{{Ref: "Practitioner/7"}, {Role: policy.Coding(policy.SystemRole, "nurse")}, {Role: policy.Coding(policy.SystemRole, "doctor"), Ref: "Practitioner/9"}},
		Actions:  []string{policy.Read, policy.Search},
		Purposes: []string{policy.Coding(policy.SystemPurpose, "TREAT")},
		Labels: &policy.Labels{
			Any: []string{policy.Coding(policy.SystemSensitivity, "MH")}, Cover: []string{policy.Coding(policy.SystemSensitivity, "HIV")}, MaxConf: "R", MinConf: "M",
		},
		Classes:     []string{policy.Coding(policy.SystemResourceType, "Observation")},
		Categories:  []string{policy.Coding(policy.SystemObservationCategory, "vital-signs")},
		Codes:       []string{policy.Coding(policy.SystemLOINC, "8867-4")},
		Data:        []policy.Data{{Meaning: "related", Ref: "Encounter/e1"}, {Meaning: "instance", Ref: "Observation/o1"}, {Meaning: "authoredby", Ref: "Practitioner/7"}},
		Approvals:   &policy.Approval{Rule: "2 of nurse and 1 of doctor", Eligible: []string{"Practitioner/7"}},
		Obligations: &policy.Obligations{Redact: []string{"note"}, Alert: true, NoRedisclose: true},
		Policy:      "sha256:00",
	}
}

// TestDigestIsOfTheJSONDocument: whoever has the JSON of a statement, and a CBOR
// library, can compute what is signed.
func TestDigestIsOfTheJSONDocument(t *testing.T) {
	h := policytest.New(t, nil)
	for _, g := range []policy.Grant{fullGrant(), vitals(t, h, "Patient/a", "Practitioner/7"), {}} {
		document, err := json.Marshal(g.Statement())
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(strings.NewReader(string(document)))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		mode, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := mode.Marshal(integers(t, v))
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(encoded) != g.Digest() {
			t.Errorf("%s: the digest of its JSON is another", document)
		}
	}
}

// integers turns JSON numbers into integers, of which alone statements consist.
func integers(t *testing.T, v any) any {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			t.Fatalf("%s is no integer", v)
		}
		return n
	case map[string]any:
		for k := range v {
			v[k] = integers(t, v[k])
		}
	case []any:
		for i := range v {
			v[i] = integers(t, v[i])
		}
	}
	return v
}

// eachField visits every field that a value holds, settable, with its path.
func eachField(v reflect.Value, path string, visit func(path string, field reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		eachField(v.Elem(), path, visit)
	case reflect.Struct:
		for i := range v.NumField() {
			eachField(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachField(v.Index(i), path, visit)
		}
	default:
		visit(path, v)
	}
}

// change makes a field say something else.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	default:
		v.SetInt(v.Int() + 7)
	}
}

// TestSentenceCoversEverything: two grants that differ anywhere read
// differently, in both languages.
func TestSentenceCoversEverything(t *testing.T) {
	base := fullGrant().Sentence()
	deny := fullGrant()
	deny.Effect = policy.EffectDeny
	baseDeny := deny.Sentence()
	fields := 0
	eachField(reflect.ValueOf(new(policy.Grant)).Elem(), "", func(path string, _ reflect.Value) { fields++ })
	g := fullGrant()
	eachField(reflect.ValueOf(&g).Elem(), "", func(path string, f reflect.Value) {
		was := reflect.New(f.Type()).Elem()
		was.Set(f)
		change(f)
		got := g.Sentence()
		if path == ".Labels.MinConf" { // which only a deny has
			denied := g
			denied.Effect = policy.EffectDeny
			if got = denied.Sentence(); got == baseDeny {
				t.Errorf("%s is not in the sentence", path)
			}
		} else if got.EN == base.EN || got.ZH == base.ZH {
			t.Errorf("%s is not in the sentence: %+v", path, got)
		}
		f.Set(was)
	})
	if g.Sentence() != base {
		t.Error("the sentence is not derived from the grant alone")
	}
}

// TestSentenceOfLess: what is left out reads differently too.
func TestSentenceOfLess(t *testing.T) {
	base := fullGrant().Sentence()
	g := fullGrant()
	v := reflect.ValueOf(&g).Elem()
	for i := range v.NumField() {
		was := reflect.New(v.Field(i).Type()).Elem()
		was.Set(v.Field(i))
		v.Field(i).SetZero()
		if got := g.Sentence(); got.EN == base.EN || got.ZH == base.ZH {
			t.Errorf("nothing tells that %s is absent", v.Type().Field(i).Name)
		}
		v.Field(i).Set(was)
	}
}

// TestSentences compares with what people have read and found clear. The words
// of version 1 are part of what was signed: a difference here is an error, not
// something to regenerate.
func TestSentences(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	requests := []string{
		`{"patient":"Patient/a","actors":["Practitioner/7"],"classes":["Observation"],"categories":["vital-signs","laboratory"],"purposes":["TREAT"],"from":"2026-11-23T20:00:00+08:00","until":"2026-11-23T22:30:00+08:00","zone":"Asia/Shanghai"}`,
		`{"patient":"Patient/a","actors":["nurse",{"role":"doctor","ref":"Practitioner/9"}],"actions":["read"],"purposes":["TREAT","CAREMGT"],"labels":["MH","SUD"],"until":"2026-12-01T00:00:00.5Z","treatment":{"until":"2026-11-30T00:00:00Z","doctor":"Practitioner/9"},"redact":["note"],"alert":true,"noRedisclose":true}`,
		`{"patient":"Patient/a","actors":["researcher"],"purposes":["HRESCH"],"maxConfidentiality":"V","codes":["http://loinc.org|718-7"],"dataFrom":"2020-01-01T00:00:00Z","dataUntil":"2021-01-01T00:00:00Z","until":"2027-01-01T00:00:00Z"}`,
		`{"patient":"Patient/a","effect":"deny","hard":true,"minConfidentiality":"R","labels":["HIV"],"data":[{"meaning":"related","ref":"Encounter/e1"}]}`,
		`{"patient":"Patient/a","effect":"deny","actors":["Practitioner/9"],"replaces":["g-before-0001"],"until":"2027-01-01T00:00:00Z"}`,
	}
	var got strings.Builder
	for _, r := range requests {
		asked, err := policy.ParseGrantRequest([]byte(r))
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		g, err := policy.Preview(asked, now)
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		g.ID = "g-example-0001"
		s := g.Sentence()
		got.WriteString(r + "\n" + s.EN + "\n" + s.ZH + "\n\n")
	}
	const file = "testdata/sentences.golden"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s differs; now:\n%s", file, got.String())
	}
}

// TestGrantHasOneSpelling: JSON that loses something on the way to what is
// signed is refused, and so is everything that could read as "any".
func TestGrantHasOneSpelling(t *testing.T) {
	good := `{"v":1,"id":"g-vitals-0001","patient":"Patient/a","layer":"grant","effect":"permit","status":"active","time":{"exp":5},"actors":[{"ref":"Practitioner/7"}]}`
	var g policy.Grant
	if err := json.Unmarshal([]byte(good), &g); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"an unknown field":       {`"v":1`, `"v":1,"extra":true`},
		"an unknown inner field": {`{"exp":5}`, `{"exp":5,"end":9}`},
		"a field twice":          {`"v":1`, `"v":1,"v":1`},
		"another case":           {`"patient"`, `"Patient"`},
		"an empty list":          {`"v":1`, `"v":1,"classes":[]`},
		"no actors left":         {`[{"ref":"Practitioner/7"}]`, `[]`},
		"a null":                 {`"v":1`, `"v":1,"labels":null`},
		"a zero":                 {`{"exp":5}`, `{"exp":5,"nbf":0}`},
		"a false":                {`"v":1`, `"v":1,"hard":false`},
		"a fraction":             {`{"exp":5}`, `{"exp":5.5}`},
		"a float":                {`{"exp":5}`, `{"exp":5.0}`},
		"an exponent":            {`{"exp":5}`, `{"exp":5e0}`},
		"a string for a list":    {`[{"ref":"Practitioner/7"}]`, `"Practitioner/7"`},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if err := json.Unmarshal([]byte(bad), &g); err == nil {
			t.Errorf("%s is accepted: %s", name, bad)
		}
	}
}

func TestGrantRefusesWhatIsNoStatement(t *testing.T) {
	for name, edit := range map[string]func(*policy.Grant){
		"no version":                func(g *policy.Grant) { g.V = 0 },
		"a later version":           func(g *policy.Grant) { g.V = 2 },
		"an odd id":                 func(g *policy.Grant) { g.ID = "vitals" },
		"a path as id":              func(g *policy.Grant) { g.ID = "g-../../etc" },
		"no patient":                func(g *policy.Grant) { g.Patient = "" },
		"a patient of another type": func(g *policy.Grant) { g.Patient = "Practitioner/7" },
		"an unknown layer":          func(g *policy.Grant) { g.Layer = "law" },
		"an unknown effect":         func(g *policy.Grant) { g.Effect = "allow" },
		"another status":            func(g *policy.Grant) { g.Status = "suspended" },
		"no actors":                 func(g *policy.Grant) { g.Actors = nil },
		"empty actors":              func(g *policy.Grant) { g.Actors = []policy.Actor{} },
		"nobody as an actor":        func(g *policy.Grant) { g.Actors = []policy.Actor{{}} },
		"an empty list":             func(g *policy.Grant) { g.Classes = []string{} },
		"an empty code":             func(g *policy.Grant) { g.Codes = []string{""} },
		"a quotation that ends":     func(g *policy.Grant) { g.Codes = []string{"http://loinc.org|x” and everything else “"} },
		"text that turns round":     func(g *policy.Grant) { g.Codes = []string{"http://loinc.org|\u202e1"} },
		"a line break":              func(g *policy.Grant) { g.Codes = []string{"http://loinc.org|1\n2"} },
		"too many codes":            func(g *policy.Grant) { g.Codes = strings.Split(strings.Repeat("a|b ", 300), " ") },
		"a long code":               func(g *policy.Grant) { g.Codes = []string{strings.Repeat("x", 1000)} },
		"no end":                    func(g *policy.Grant) { g.Time.Exp = 0 },
		"an end before the start":   func(g *policy.Grant) { g.Time.Nbf = g.Time.Exp },
		"a time beyond all years":   func(g *policy.Grant) { g.Time.Exp = 1 << 62 },
		"an offset of two days":     func(g *policy.Grant) { g.Time.ExpOffset = 2880 },
		"writing":                   func(g *policy.Grant) { g.Actions = []string{policy.Create} },
		"a floor":                   func(g *policy.Grant) { g.Labels.MinConf = "R" },
		"a parent":                  func(g *policy.Grant) { g.Parent = "g-parent-0001" },
		"a path":                    func(g *policy.Grant) { g.Path = []int{1} },
		"a treatment by nobody":     func(g *policy.Grant) { g.Treatment = &policy.Treatment{Until: 5} },
		"a deny with a ceiling":     func(g *policy.Grant) { g.Layer, g.Effect = policy.LayerConsent, policy.EffectDeny },
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			h.Enrol("Patient/a", "Patient/a")
			g := vitals(t, h, "Patient/a", "Practitioner/7")
			edit(&g)
			if err := h.Apply(policy.KindGrant, g.Patient, policytest.Sign(g, "Patient/a", "").Encode()); !errors.Is(err, policy.ErrRefused) {
				t.Errorf("Apply() = %v, want ErrRefused", err)
			}
			if len(h.State.Grants("Patient/a")) != 0 {
				t.Error("it is there all the same")
			}
		})
	}
}

// TestStatementsStandInTheirPatientsHistory: an entry under another patient
// would hide the statement from whom it is about.
func TestStatementsStandInTheirPatientsHistory(t *testing.T) {
	h := policytest.New(t, nil)
	h.Enrol("Patient/a", "Patient/a")
	g := vitals(t, h, "Patient/a", "Practitioner/7")
	st := policytest.Sign(g, "Patient/a", "").Encode()
	for _, patient := range []string{"", "Patient/b", "b"} {
		if err := h.Apply(policy.KindGrant, patient, st); !errors.Is(err, policy.ErrRefused) {
			t.Errorf("under %q: %v", patient, err)
		}
	}
	if err := h.Apply(policy.KindGrant, "Patient/a", st); err != nil {
		t.Fatal(err)
	}
	w := policytest.Withdrawal(g, "Patient/a", "")
	if err := h.Apply(policy.KindWithdraw, "Patient/b", w.Encode()); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("withdrawal under another: %v", err)
	}
	if err := h.Withdraw(g, "Patient/a", ""); err != nil {
		t.Error(err)
	}
}

// TestSignaturesAreForOnePurpose: a signature to grant does not withdraw, and one
// over another grant counts for nothing.
func TestSignaturesAreForOnePurpose(t *testing.T) {
	h := policytest.New(t, nil)
	g := vitals(t, h, "Patient/a", "Practitioner/7")
	h.Grant(g)
	for name, message := range map[string][]byte{
		"to grant":     policy.GrantMessage(g.Digest()),
		"to relate":    policy.RelationMessage(g.Digest()),
		"of the plain": func() []byte { d := g.Digest(); return d[:] }(),
	} {
		w := policytest.Withdrawal(g, "Patient/a", "")
		w.Signature = sign("Patient/a", message)
		if err := h.Apply(policy.KindWithdraw, "Patient/a", w.Encode()); !errors.Is(err, policy.ErrSignature) {
			t.Errorf("a signature %s withdraws: %v", name, err)
		}
	}
	other := vitals(t, h, "Patient/a", "Practitioner/8")
	st := policy.SignedGrant{Grant: other, Signature: policytest.Sign(g, "Patient/a", "").Signature}
	if err := h.Apply(policy.KindGrant, "Patient/a", st.Encode()); !errors.Is(err, policy.ErrSignature) {
		t.Errorf("a signature of another grant: %v", err)
	}
}

func TestEnrolment(t *testing.T) {
	key := policytest.Public("new")
	h := policytest.New(t, nil)
	token := h.EnrolToken
	registrars := func(person string, names ...string) (out []policy.Signature) {
		d := policy.Enrolment{Person: person, Key: key}.Digest()
		for _, n := range names {
			out = append(out, policy.Signature{Signer: n, Value: sign(n, policy.EnrolMessage(d))})
		}
		return out
	}
	for name, tc := range map[string]struct {
		st policy.Enrolment
		ok bool
	}{
		"by an ID token":              {policy.Enrolment{Person: "Patient/a", Key: key, Token: token("Patient/a", key)}, true},
		"by two registrars":           {policy.Enrolment{Person: "Patient/a", Key: key, Registrars: registrars("Patient/a", "registrar-1", "registrar-2")}, true},
		"by one registrar twice":      {policy.Enrolment{Person: "Patient/a", Key: key, Registrars: registrars("Patient/a", "registrar-1", "registrar-1")}, false},
		"by one registrar":            {policy.Enrolment{Person: "Patient/a", Key: key, Registrars: registrars("Patient/a", "registrar-1")}, false},
		"by an ADT system":            {policy.Enrolment{Person: "Patient/a", Key: key, Registrars: registrars("Patient/a", "registrar-1", "adt")}, false},
		"by registrars for another":   {policy.Enrolment{Person: "Patient/a", Key: key, Registrars: registrars("Patient/b", "registrar-1", "registrar-2")}, false},
		"by both":                     {policy.Enrolment{Person: "Patient/a", Key: key, Token: token("Patient/a", key), Registrars: registrars("Patient/a", "registrar-1", "registrar-2")}, false},
		"by nobody":                   {policy.Enrolment{Person: "Patient/a", Key: key}, false},
		"of another person":           {policy.Enrolment{Person: "Patient/b", Key: key, Token: token("Patient/a", key)}, false},
		"of another key":              {policy.Enrolment{Person: "Patient/a", Key: policytest.Public("other"), Token: token("Patient/a", key)}, false},
		"with a sign-in's token":      {policy.Enrolment{Person: "Patient/a", Key: key, Token: h.IDToken("Patient/a", nil, policy.SessionNonce(strings.Repeat("x", 30), policytest.App, 1), nil)}, false},
		"of a short key":              {policy.Enrolment{Person: "Patient/a", Key: key[:31], Token: token("Patient/a", key[:31])}, false},
		"of a client":                 {policy.Enrolment{Person: "Client/loader", Key: key, Registrars: registrars("Client/loader", "registrar-1", "registrar-2")}, false},
		"replacing what is not there": {policy.Enrolment{Person: "Patient/a", Key: key, Token: token("Patient/a", key), Previous: sign("old", []byte("x"))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := policytest.New(t, nil)
			err := h.Apply(policy.KindEnrol, "", tc.st.Encode())
			if (err == nil) != tc.ok {
				t.Errorf("Apply() = %v", err)
			}
			if _, ok := h.State.Key("Patient/a"); ok != tc.ok {
				t.Errorf("Key() = %t", ok)
			}
		})
	}
	t.Run("a key is one person's", func(t *testing.T) {
		h := policytest.New(t, nil)
		h.Enrol("Patient/a", "shared")
		st := policy.Enrolment{Person: "Patient/b", Key: policytest.Public("shared"), Token: h.EnrolToken("Patient/b", policytest.Public("shared"))}
		if err := h.Apply(policy.KindEnrol, "", st.Encode()); !errors.Is(err, policy.ErrRefused) {
			t.Errorf("Apply() = %v", err)
		}
		if err := h.Apply(policy.KindEnrol, "Patient/a", st.Encode()); !errors.Is(err, policy.ErrRefused) {
			t.Errorf("under another patient: %v", err)
		}
	})
}

func TestGrantsTellHowTheyStand(t *testing.T) {
	h := policytest.New(t, nil)
	g := vitals(t, h, "Patient/a", "Practitioner/7")
	h.Grant(g)
	index := h.Index
	later := vitals(t, h, "Patient/a", "Practitioner/8")
	later.Time.Nbf += 60_000
	h.Grant(later)
	got := h.State.Grants("Patient/a")
	if len(got) != 2 || got[0].Status != policy.StatusActive || got[1].Status != policy.StatusNotYet || got[0].Index != index || got[0].Digest != g.Digest() {
		t.Errorf("Grants() = %+v", got)
	}
	if s := got[0].At(time.UnixMilli(g.Time.Exp)); s != policy.StatusEnded {
		t.Errorf("at its end: %s", s)
	}
	h.Now = h.Now.Add(time.Second)
	if err := h.Withdraw(g, "Patient/a", ""); err != nil {
		t.Fatal(err)
	}
	one, ok := h.State.GrantByID(g.ID)
	if !ok || one.Status != policy.StatusWithdrawn || !one.Withdrawn.Equal(h.Now) {
		t.Errorf("GrantByID() = %+v, %t", one, ok)
	}
	if err := h.Withdraw(g, "Patient/a", ""); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("withdrawn twice: %v", err)
	}
	if _, ok := h.State.GrantByID("g-nowhere"); ok || h.State.Grants("Patient/z") != nil {
		t.Error("statements from nowhere")
	}
}

// TestPatientsAreThoseWithAPermitOrRelation, and nobody else.
func TestPatientsAreThoseWithAPermitOrRelation(t *testing.T) {
	h := policytest.New(t, nil)
	doctor := policy.Subject{ID: "Practitioner/7", Roles: []string{"doctor"}}
	h.Grant(vitals(t, h, "Patient/a", doctor.ID))
	h.Grant(vitals(t, h, "Patient/x", "Practitioner/8"))
	withdrawn := vitals(t, h, "Patient/w", doctor.ID)
	h.Grant(withdrawn)
	if err := h.Withdraw(withdrawn, "Patient/w", ""); err != nil {
		t.Fatal(err)
	}
	role := vitals(t, h, "Patient/r", doctor.ID)
	role.Actors = []policy.Actor{{Role: policy.Coding(policy.SystemRole, "doctor")}}
	h.Grant(role)
	ms := h.Now.UnixMilli()
	relation := func(id, kind, subject, patient, unit string) {
		h.Relate(policy.Relation{V: 1, ID: id, Kind: kind, Subject: subject, Patient: patient, Unit: unit, From: ms, Until: ms + 3_600_000, Issued: ms})
	}
	relation("r-treats-0001", policy.Treats, doctor.ID, "Patient/t", "")
	relation("r-treats-0002", policy.Treats, "Practitioner/8", "Patient/y", "")
	relation("r-admit-00001", policy.AdmittedTo, "", "Patient/u", "Location/w3")
	relation("r-admit-00002", policy.AdmittedTo, "", "Patient/v", "Location/w4")
	relation("r-member-0001", policy.MemberOf, doctor.ID, "", "Location/w3")
	for at, want := range map[time.Time]string{
		h.Now:                     "Patient/a Patient/r Patient/t Patient/u",
		h.Now.Add(time.Hour):      "",
		h.Now.Add(-1 * time.Hour): "",
	} {
		if got := strings.Join(h.State.Patients(doctor, at), " "); got != want {
			t.Errorf("at %s: %s, want %s", at, got, want)
		}
	}
	if got := h.State.Patients(policy.Subject{ID: "Patient/a", Roles: []string{"patient"}}, h.Now); len(got) != 1 || got[0] != "Patient/a" {
		t.Errorf("a patient's own: %v", got)
	}
}

func TestUnknownKindsChangeNothing(t *testing.T) {
	h := policytest.New(t, nil)
	for _, kind := range []string{"", "access", "Grant", "governance"} {
		if err := h.Apply(kind, "Patient/a", []byte("whatever")); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

func TestNothingIsAcceptedUnderATrustThatIsNone(t *testing.T) {
	bad := policytest.Trust()
	bad.Issuers[0].Algorithms = []string{"none"}
	s := policy.NewState(bad)
	h := policytest.New(t, nil)
	if err := s.Apply(h.Event(policy.KindSignIn, "", attempt(h, nil).Encode())); !errors.Is(err, policy.ErrRefused) {
		t.Errorf("Apply() = %v, want ErrRefused", err)
	}
	if _, ok := s.Session(h.Index); ok {
		t.Error("a session all the same")
	}
}
