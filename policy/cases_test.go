package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/tools/txtar"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// A case is what testdata/hospital.yaml describes.
type caseFile struct {
	Asks     string      `yaml:"asks"`
	Action   string      `yaml:"action"`
	Purpose  *string     `yaml:"purpose"`
	Record   string      `yaml:"record"`
	At       time.Time   `yaml:"at"`
	Session  string      `yaml:"session"`
	Scopes   []string    `yaml:"scopes"`
	Context  string      `yaml:"context"`
	Implicit string      `yaml:"implicit"`
	Entries  []caseEntry `yaml:"entries"`
	Expect   expectation `yaml:"expect"`
}

type caseEntry struct {
	At       time.Time      `yaml:"at"`
	Grant    string         `yaml:"grant"`
	Ask      map[string]any `yaml:"ask"`
	Says     map[string]any `yaml:"says"`
	Withdraw string         `yaml:"withdraw"`
	Relation map[string]any `yaml:"relation"`
	Enrol    string         `yaml:"enrol"`
	Key      string         `yaml:"key"`
	SignIn   string         `yaml:"sign-in"`
	Token    string         `yaml:"token"`
	Withheld bool           `yaml:"withheld"`
	Record   string         `yaml:"record"`
	Signed   []string       `yaml:"signed"`
	Refused  string         `yaml:"refused"`
}

type expectation struct {
	Permit   string    `yaml:"permit"`
	Deny     string    `yaml:"deny"`
	Rule     string    `yaml:"rule"`
	Because  []string  `yaml:"because"`
	Relation string    `yaml:"relation"`
	Until    time.Time `yaml:"until"`
	Redact   []string  `yaml:"redact"`
	Alert    bool      `yaml:"alert"`
}

type hospitalFile struct {
	People map[string]struct {
		ID    string   `yaml:"id"`
		Roles []string `yaml:"roles"`
	} `yaml:"people"`
	Records map[string]struct {
		Type       string    `yaml:"type"`
		ID         string    `yaml:"id"`
		Patient    string    `yaml:"patient"`
		Codes      []string  `yaml:"codes"`
		Categories []string  `yaml:"categories"`
		Conf       string    `yaml:"conf"`
		Sens       []string  `yaml:"sens"`
		From       time.Time `yaml:"from"`
		To         time.Time `yaml:"to"`
		Encounter  string    `yaml:"encounter"`
		Author     string    `yaml:"author"`
	} `yaml:"records"`
}

func strictYAML(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions(data, v, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
}

func loadHospital(t testing.TB) hospitalFile {
	t.Helper()
	data, err := os.ReadFile("testdata/hospital.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var h hospitalFile
	strictYAML(t, data, &h)
	return h
}

// eachCase reads every archive.
func eachCase(t testing.TB, visit func(name string, c caseFile)) {
	t.Helper()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			var c caseFile
			if err := yaml.UnmarshalWithOptions(f.Data, &c, yaml.Strict()); err != nil {
				t.Fatalf("%s: %s: %v", path, f.Name, err)
			}
			visit(strings.TrimSuffix(filepath.Base(path), ".txtar")+"/"+f.Name, c)
		}
	}
}

// rename replaces the hospital's names for people by their ids, everywhere.
func (h hospitalFile) rename(v any) any {
	switch v := v.(type) {
	case string:
		if p, ok := h.People[v]; ok {
			return p.ID
		}
	case []any:
		for i := range v {
			v[i] = h.rename(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = h.rename(v[k])
		}
	}
	return v
}

// instants turns RFC 3339 under some names into Unix ms.
func instants(v any, names ...string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k := range m {
		if text, isText := m[k].(string); isText && slices.Contains(names, k) {
			if at, err := time.Parse(time.RFC3339, text); err == nil {
				m[k] = at.UnixMilli()
			}
		}
		m[k] = instants(m[k], names...)
	}
	return m
}

func decodeJSON(t testing.TB, from any, into any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
}

// setting is a case ready to be decided.
type setting struct {
	hospital *policytest.Hospital
	request  policy.Request
	at       time.Time
}

func (h hospitalFile) set(t testing.TB, c caseFile) setting {
	t.Helper()
	hospital := policytest.New(t, func(trust *policy.Trust) { trust.Implicit = c.Implicit })
	hospital.Now = c.At.Add(-48 * time.Hour)
	for _, id := range h.signers(c) {
		hospital.Enrol(id, id)
	}
	signIn := c.At.Add(-time.Hour)
	var subject policy.Subject
	arrive := func() {
		if subject.ID == "" {
			hospital.Now = signIn
			subject = h.signIn(t, hospital, c)
		}
	}
	grants := map[string]policy.Grant{}
	for _, e := range c.Entries {
		if e.At.IsZero() {
			e.At = c.At.Add(-24 * time.Hour)
		}
		if e.At.After(c.At) {
			break
		}
		if !e.At.Before(signIn) {
			arrive()
		}
		hospital.Now = e.At
		err := h.enter(t, hospital, e, grants)
		if (err == nil) != (e.Refused == "") || (err != nil && !strings.Contains(err.Error(), e.Refused)) {
			t.Fatalf("entry %s%s: %v, want %q", e.Grant, e.Withdraw, err, e.Refused)
		}
	}
	arrive()
	h.spoil(hospital, c, &subject)
	return setting{hospital, h.request(t, c, subject), c.At}
}

// signers are the people whose keys a case needs: its patients, and who signs.
func (h hospitalFile) signers(c caseFile) []string {
	people := map[string]struct{}{}
	for _, e := range c.Entries {
		for _, name := range append(slices.Clone(e.Signed), e.Enrol, e.SignIn, fmt.Sprint(e.Ask["patient"]), fmt.Sprint(e.Says["patient"])) {
			if p, ok := h.People[name]; ok && !strings.HasPrefix(p.ID, "Client/") {
				people[p.ID] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(people))
}

func (h hospitalFile) signIn(t testing.TB, hospital *policytest.Hospital, c caseFile) policy.Subject {
	p, ok := h.People[c.Asks]
	if !ok {
		t.Fatalf("nobody is called %q", c.Asks)
	}
	end := c.At.Add(10 * time.Hour)
	if c.Session == "ended" {
		end = c.At
	}
	if client, ok := strings.CutPrefix(p.ID, "Client/"); ok {
		return hospital.SignInClient(client, end)
	}
	return hospital.SignIn(p.ID, end, p.Roles...)
}

// spoil makes the session what the case says it is.
func (h hospitalFile) spoil(hospital *policytest.Hospital, c caseFile, s *policy.Subject) {
	switch c.Session {
	case "signed out":
		hospital.SignOut(*s)
	case "invented":
		s.SignIn += 1000
	case "somebody else's":
		s.ID = "Practitioner/15"
	case "another role":
		s.Roles = []string{"records"}
	case "none":
		s.SignIn = 0
	}
}

func (h hospitalFile) request(t testing.TB, c caseFile, subject policy.Subject) policy.Request {
	r, ok := h.Records[c.Record]
	if !ok {
		t.Fatalf("no record %q", c.Record)
	}
	ms := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return at.UnixMilli()
	}
	req := policy.Request{
		Subject: subject, Action: c.Action, Purpose: "TREAT", Scopes: c.Scopes, Context: c.Context,
		Resource: policy.Resource{
			Type: r.Type, ID: r.ID, Patient: r.Patient, Codes: r.Codes, Categories: r.Categories, Conf: r.Conf, Sens: r.Sens,
			From: ms(r.From), To: ms(r.To), Encounter: r.Encounter, Author: r.Author,
		},
	}
	if req.Action == "" {
		req.Action = policy.Read
	}
	if c.Purpose != nil {
		req.Purpose = *c.Purpose
	}
	if c.Scopes == nil {
		req.Scopes = []string{"user/*.cruds", "patient/*.cruds", "system/*.cruds"}
	}
	return req
}

// enter applies one entry of a case.
func (h hospitalFile) enter(t testing.TB, hospital *policytest.Hospital, e caseEntry, grants map[string]policy.Grant) error {
	signed := make([]string, len(e.Signed))
	for i, s := range e.Signed {
		signed[i] = h.rename(s).(string)
	}
	switch {
	case e.Grant != "":
		g := h.grant(t, e, hospital.Now)
		grants[g.ID] = g
		key, signer := g.Patient, ""
		if len(signed) > 0 {
			key = signed[0]
		}
		if g.Layer == policy.LayerLegal || g.Layer == policy.LayerOrg {
			signer = key
		}
		if e.Withheld {
			return nil
		}
		return hospital.Apply(policy.KindGrant, g.Patient, policytest.Sign(g, key, signer).Encode())
	case e.Record != "":
		g := grants[e.Record]
		return hospital.Apply(policy.KindGrant, g.Patient, policytest.Sign(g, g.Patient, "").Encode())
	case e.SignIn != "":
		person, session, end := h.rename(e.SignIn).(string), hospital.Session(), hospital.Now.Add(time.Hour).UnixMilli()
		nonce := policy.SessionNonce(session, policytest.App, end)
		st := policy.SignIn{Session: session, Client: policytest.App, End: end, Form: policy.FormIDToken, Token: hospital.IDToken(person, h.People[e.SignIn].Roles, nonce, nil)}
		if len(signed) > 0 {
			st.Signature = sign(signed[0], policy.SignInMessage(nonce))
		}
		return hospital.Apply(policy.KindSignIn, "", st.Encode())
	case e.Withdraw != "":
		g := grants[e.Withdraw]
		key, signer := g.Patient, ""
		if len(signed) > 0 {
			key = signed[0]
		}
		if g.Layer == policy.LayerLegal || g.Layer == policy.LayerOrg {
			signer = key
		}
		return hospital.Withdraw(g, key, signer)
	case e.Relation != nil:
		var r policy.Relation
		m := instants(h.rename(e.Relation), "from", "until", "issued").(map[string]any)
		m["v"] = 1
		if m["issued"] == nil {
			m["issued"] = hospital.Now.UnixMilli()
		}
		decodeJSON(t, m, &r)
		if len(signed) == 0 {
			signed = []string{"adt"}
		}
		return hospital.Apply(policy.KindRelation, r.Patient, policytest.SignRelation(r, signed...).Encode())
	case e.Enrol != "":
		person := h.rename(e.Enrol).(string)
		st := policy.Enrolment{Person: person, Key: policytest.Public(e.Key)}
		st.Token = hospital.EnrolToken(person, st.Key)
		if e.Token == "sign-in" {
			st.Token = hospital.IDToken(person, nil, policy.EnrolNonce(st.Key), nil)
		}
		if len(signed) > 0 {
			st.Previous = sign(signed[0], policy.EnrolMessage(st.Digest()))
		}
		err := hospital.Apply(policy.KindEnrol, "", st.Encode())
		if err == nil {
			hospital.Keys[person] = e.Key
		}
		return err
	}
	t.Fatalf("an entry that is nothing: %+v", e)
	return nil
}

func (h hospitalFile) grant(t testing.TB, e caseEntry, now time.Time) policy.Grant {
	t.Helper()
	if e.Says == nil {
		data, err := json.Marshal(h.rename(e.Ask))
		if err != nil {
			t.Fatal(err)
		}
		asked, err := policy.ParseGrantRequest(data)
		if err != nil {
			t.Fatal(err)
		}
		g, err := policy.Preview(asked, now)
		if err != nil {
			t.Fatal(err)
		}
		g.ID = e.Grant
		return g
	}
	m := instants(h.rename(e.Says), "nbf", "exp", "from", "to", "until").(map[string]any)
	m["v"], m["id"], m["status"] = 1, e.Grant, "active"
	if m["time"] == nil {
		m["time"] = map[string]any{}
	}
	var g policy.Grant
	decodeJSON(t, m, &g)
	return g
}

// TestCases decides every case of testdata, alone and among others.
func TestCases(t *testing.T) {
	engine := newEngine(t)
	h := loadHospital(t)
	count := 0
	eachCase(t, func(name string, c caseFile) {
		count++
		t.Run(name, func(t *testing.T) {
			s := h.set(t, c)
			got := engine.Decide(t.Context(), s.hospital.State, s.request, s.at)
			compare(t, c.Expect, got)
			if got.Policy != engine.Digest() {
				t.Error("the decision does not name its rules")
			}
			page := []policy.Resource{{Type: "Basic", Patient: "Patient/z"}, s.request.Resource, s.request.Resource}
			for _, again := range engine.DecideAll(t.Context(), s.hospital.State, s.request, page, s.at)[1:] {
				if fmt.Sprint(again) != fmt.Sprint(got) {
					t.Errorf("on a page: %+v, alone: %+v", again, got)
				}
			}
		})
	})
	if count < 60 {
		t.Errorf("%d cases", count)
	}
}

func compare(t *testing.T, want expectation, got policy.Decision) {
	t.Helper()
	if got.Permit != (want.Permit != "") || string(got.Reason) != want.Permit+want.Deny || got.Rule != want.Rule {
		t.Errorf("permit %t, reason %s by %s; want %+v", got.Permit, got.Reason, got.Rule, want)
	}
	if !slices.Equal(got.Grants, want.Because) || got.Relation != want.Relation {
		t.Errorf("because %v and relation %q; want %+v", got.Grants, got.Relation, want)
	}
	if !want.Until.IsZero() && !got.Expires.Equal(want.Until) {
		t.Errorf("until %s; want %s", got.Expires, want.Until)
	}
	if !slices.Equal(got.Obligations.Redact, want.Redact) || got.Obligations.Alert != want.Alert {
		t.Errorf("obligations %+v; want %+v", got.Obligations, want)
	}
	if got.Permit != !got.Expires.IsZero() {
		t.Errorf("permit %t until %s", got.Permit, got.Expires)
	}
}
