package index_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/index"
)

func open(t testing.TB, path string, secret []byte) *index.Index {
	t.Helper()
	key, err := index.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(context.Background(), index.Config{Path: path, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func fresh(t testing.TB) *index.Index {
	return open(t, filepath.Join(t.TempDir(), "index.db"), index.NewKey())
}

func row(typ, id string, revision uint64) index.Row {
	return index.Row{
		Type: typ, ID: id, Revision: revision, Patient: "Patient/p1", Upstream: fmt.Sprint(revision), Digest: [32]byte{byte(revision), 1},
		Attributes: []byte("sealed"), Entry: 10 + revision, Updated: time.UnixMilli(1_700_000_000_000 + int64(revision)).UTC(),
	}
}

func put(t testing.TB, x *index.Index, r index.Row, terms ...index.Term) {
	t.Helper()
	if err := x.Put(t.Context(), r, terms...); err != nil {
		t.Fatal(err)
	}
}

func ids(rows []index.Row) string {
	return strings.Join(lo.Map(rows, func(r index.Row, _ int) string { return fmt.Sprintf("%s/%s.%d", r.Type, r.ID, r.Revision) }), " ")
}

func TestRowsComeBackAsTheyWerePut(t *testing.T) {
	x := fresh(t)
	if !x.Fresh() {
		t.Error("a new index is not fresh")
	}
	first, second := row("Observation", "o1", 1), row("Observation", "o1", 2)
	second.Deleted = true
	put(t, x, first)
	if got, err := x.Current(t.Context(), "Observation", "o1"); err != nil || ids([]index.Row{got}) != "Observation/o1.1" || got.Digest != first.Digest || !got.Updated.Equal(first.Updated) || got.Entry != 11 || string(got.Attributes) != "sealed" || got.Upstream != "1" {
		t.Errorf("Current() = %+v, %v", got, err)
	}
	put(t, x, second)
	put(t, x, first) // comes again, and late: changes nothing
	got, err := x.Current(t.Context(), "Observation", "o1")
	if err != nil || got.Revision != 2 || !got.Deleted {
		t.Errorf("Current() = %+v, %v, want the deletion", got, err)
	}
	if got, err := x.Revision(t.Context(), "Observation", "o1", 1); err != nil || got.Deleted {
		t.Errorf("Revision(1) = %+v, %v", got, err)
	}
	if rows, err := x.Revisions(t.Context(), "Observation", "o1"); err != nil || ids(rows) != "Observation/o1.2 Observation/o1.1" {
		t.Errorf("Revisions() = %s, %v", ids(rows), err)
	}
	for _, lookup := range []func() (index.Row, error){
		func() (index.Row, error) { return x.Current(t.Context(), "Condition", "o1") },
		func() (index.Row, error) { return x.Revision(t.Context(), "Observation", "o1", 3) },
	} {
		if _, err := lookup(); !errors.Is(err, index.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
	}
	if err := x.Put(t.Context(), index.Row{Type: "Observation", ID: "o1"}); err == nil {
		t.Error("put a row without a revision")
	}
}

func TestByPatientHasCurrentRowsAlone(t *testing.T) {
	x := fresh(t)
	put(t, x, row("Observation", "o2", 1))
	put(t, x, row("Observation", "o1", 1))
	put(t, x, row("Observation", "o1", 2))
	put(t, x, row("Condition", "c1", 1))
	gone := row("Condition", "c2", 2)
	gone.Deleted = true
	put(t, x, row("Condition", "c2", 1))
	put(t, x, gone)
	moved := row("Observation", "o3", 1)
	moved.Patient = "Patient/p2"
	put(t, x, moved)
	for want, types := range map[string][]string{
		"Condition/c1.1 Observation/o1.2 Observation/o2.1": nil,
		"Observation/o1.2 Observation/o2.1":                {"Observation"},
		"Condition/c1.1":                                   {"Condition", "Procedure"},
		"":                                                 {"Procedure"},
	} {
		if rows, err := x.ByPatient(t.Context(), "Patient/p1", types...); err != nil || ids(rows) != want {
			t.Errorf("ByPatient(%v) = %s, %v, want %s", types, ids(rows), err, want)
		}
	}
}

func patient(t testing.TB, id, family, given, born, mrn string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"Patient","id":%q,"identifier":[{"system":"urn:mrn","value":%q}],
		"name":[{"family":%q,"given":[%q],"text":"ignored but indexed"}],"birthDate":%q}`, id, mrn, family, given, born), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPatientsAreFoundByIdentifierAndByNameWithBirthDate(t *testing.T) {
	x := fresh(t)
	put(t, x, row("Patient", "p1", 1), index.Terms(patient(t, "p1", "O'Hara", "Scarlett", "1970-01-02", "MRN-1"))...)
	put(t, x, row("Patient", "p2", 1), index.Terms(patient(t, "p2", "O'Hara", "Gerald", "1930-01-02", "MRN-2"))...)
	born := func(words, date string) []index.Term {
		return lo.Map(index.NameWords(words), func(w string, _ int) index.Term { return index.NameAndBirth(w, date) })
	}
	find := func(terms ...index.Term) string {
		rows, err := x.Lookup(t.Context(), "Patient", 10, terms...)
		if err != nil {
			t.Fatal(err)
		}
		return ids(rows)
	}
	for name, tc := range map[string]struct {
		terms []index.Term
		want  string
	}{
		"identifier":                {[]index.Term{index.Identifier("urn:mrn|MRN-1")}, "Patient/p1.1"},
		"identifier of any system":  {[]index.Term{index.Identifier("MRN-2")}, "Patient/p2.1"},
		"identifier of no system":   {[]index.Term{index.Identifier("|MRN-2")}, ""},
		"part of an identifier":     {[]index.Term{index.Identifier("MRN")}, ""},
		"family":                    {born("o'hara", "1970-01-02"), "Patient/p1.1"},
		"both names":                {born("OHARA  Gerald", "1930-01-02"), "Patient/p2.1"},
		"another's given name":      {born("OHara Gerald", "1970-01-02"), ""},
		"name without a birth date": {born("ohara", ""), ""},
		"nothing":                   {nil, ""},
	} {
		if got := find(tc.terms...); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	// A new revision replaces what the patient is found by; a deletion hides it.
	put(t, x, row("Patient", "p1", 2), index.Terms(patient(t, "p1", "Butler", "Scarlett", "1970-01-02", "MRN-1"))...)
	if find(born("ohara", "1970-01-02")...) != "" || find(born("butler", "1970-01-02")...) != "Patient/p1.2" {
		t.Error("the old name still finds the patient, or the new one does not")
	}
	gone := row("Patient", "p1", 3)
	gone.Deleted = true
	put(t, x, gone, index.Terms(patient(t, "p1", "Butler", "Scarlett", "1970-01-02", "MRN-1"))...)
	if got := find(index.Identifier("MRN-1")); got != "" {
		t.Errorf("a deleted patient is found: %s", got)
	}
	if rows, err := x.Lookup(t.Context(), "Observation", 10, index.Identifier("MRN-2")); err != nil || len(rows) != 0 {
		t.Errorf("found as another type: %v, %v", rows, err)
	}
	many := func(i int) index.Row { return row("Patient", fmt.Sprintf("m%02d", i), 1) }
	for i := range 12 {
		put(t, x, many(i), index.Identifier("shared"))
	}
	if rows, err := x.Lookup(t.Context(), "Patient", 10, index.Identifier("shared")); err != nil || len(rows) != 10 {
		t.Errorf("%d rows, %v, want the limit of 10", len(rows), err)
	}
}

func TestOnlyPatientsHaveTerms(t *testing.T) {
	r, err := fhir.Parse([]byte(`{"resourceType":"Practitioner","id":"x","name":[{"family":"A"}],"birthDate":"1970-01-01","identifier":[{"value":"1"}]}`), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if terms := index.Terms(r); terms != nil {
		t.Errorf("terms %v", terms)
	}
}

func TestNothingStandsInTheFileButIds(t *testing.T) {
	dir := t.TempDir()
	x := open(t, filepath.Join(dir, "index.db"), index.NewKey())
	p := patient(t, "p1", "Canarson", "Canarina", "1971-12-13", "MRN-CANARY-77")
	put(t, x, row("Patient", "p1", 1), index.Terms(p)...)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, plain := range []string{"anarson", "anarina", "1971-12-13", "CANARY", "canary", "urn:mrn"} {
			if bytes.Contains(data, []byte(plain)) {
				t.Errorf("%q is in %s", plain, path)
			}
		}
		if info, _ := d.Info(); info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTokensOfTwoHospitalsHaveNothingInCommon(t *testing.T) {
	a, err := index.ParseKey(index.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	b, err := index.ParseKey(index.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if a.Token("identifier", "1") == b.Token("identifier", "1") {
		t.Error("tokens do not depend on the key")
	}
	if a.Token("ab", "c") == a.Token("a", "bc") {
		t.Error("kind and value run together")
	}
	var out strings.Builder
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", a)
	fmt.Fprintf(&out, "%v %+v %#v %s", a, a, a, &a)
	if strings.Count(out.String(), "[redacted]") != 5 {
		t.Errorf("printed %s", out.String())
	}
	if _, err := index.ParseKey(make([]byte, 16)); err == nil {
		t.Error("16 bytes are a key")
	}
}

func TestMarkerMovesForwardAlone(t *testing.T) {
	path, secret := filepath.Join(t.TempDir(), "index.db"), index.NewKey()
	x := open(t, path, secret)
	for _, step := range []struct{ set, want uint64 }{{0, 0}, {7, 7}, {300, 300}, {12, 300}, {1 << 40, 1 << 40}} {
		if err := x.SetMarker(t.Context(), step.set); err != nil {
			t.Fatal(err)
		}
		if got, err := x.Marker(t.Context()); err != nil || got != step.want {
			t.Errorf("Marker() = %d, %v, want %d", got, err, step.want)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, secret)
	if got, err := again.Marker(t.Context()); err != nil || got != 1<<40 || again.Fresh() {
		t.Errorf("Marker() after a restart = %d, %v, fresh: %v", got, err, again.Fresh())
	}
}

func TestCorruptedFileIsSetAsideAndAnEmptyIndexBegins(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"not a database": func([]byte) []byte { return []byte(strings.Repeat("nonsense", 2000)) },
		"pages lost": func(data []byte) []byte {
			for i := 4096; i < len(data); i++ {
				data[i] = 0xa5
			}
			return data
		},
		"cut short": func(data []byte) []byte { return data[:len(data)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir, secret := t.TempDir(), index.NewKey()
			path := filepath.Join(dir, "index.db")
			x := open(t, path, secret)
			for i := range 200 {
				put(t, x, row("Observation", fmt.Sprint("o", i), 1), index.Identifier(fmt.Sprint(i)))
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			again := open(t, path, secret)
			if !again.Fresh() {
				t.Error("it does not say that it is fresh")
			}
			if _, err := again.Current(t.Context(), "Observation", "o1"); !errors.Is(err, index.ErrNotFound) {
				t.Errorf("%v, want ErrNotFound", err)
			}
			put(t, again, row("Observation", "o1", 1))
			if aside, err := filepath.Glob(path + ".corrupt-*"); err != nil || len(aside) == 0 {
				t.Errorf("nothing was set aside: %v, %v", aside, err)
			}
		})
	}
}

func TestAnotherKeyIsRefusedAndNothingLost(t *testing.T) {
	path, secret := filepath.Join(t.TempDir(), "index.db"), index.NewKey()
	x := open(t, path, secret)
	put(t, x, row("Observation", "o1", 1))
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	key, err := index.ParseKey(index.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := index.Open(t.Context(), index.Config{Path: path, Key: key}); !errors.Is(err, index.ErrWrongKey) {
		t.Fatalf("Open() = %v, want ErrWrongKey", err)
	}
	if _, err := open(t, path, secret).Current(t.Context(), "Observation", "o1"); err != nil {
		t.Error(err)
	}
	for _, c := range []index.Config{{Key: key}, {Path: path}, {Path: filepath.Join(t.TempDir(), "no", "such", "dir", "x.db"), Key: key}} {
		if _, err := index.Open(t.Context(), c); err == nil {
			t.Errorf("Open(%+v) succeeds", c)
		}
	}
}

func TestIndexIsRestoredFromLogAndStore(t *testing.T) {
	committee, _, err := dkg.Deal("c", 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := records.NewAttributeKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := records.NewSealer(records.SealerConfig{Tenant: "t", Committee: committee, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	p := patient(t, "p1", "Canarson", "Canarina", "1971-12-13", "MRN-77")
	e, err := sealer.Seal(p, policy.Resource{Type: "Patient", ID: "p1", Patient: "Patient/p1"}, 4)
	if err != nil {
		t.Fatal(err)
	}
	secret := index.NewKey()
	key, err := index.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.SealTerms(e, index.Terms(p)); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(e.Encode(), []byte("anarson")) {
		t.Error("terms stand in the envelope in the clear")
	}
	if e, err = records.DecodeEnvelope(e.Encode()); err != nil {
		t.Fatal(err)
	}
	digest := e.Digest()
	body := &chain.Body{Time: 1_700_000_000_000, Entry: chain.Entry{
		Kind: chain.Write, Action: "update", Patient: "Patient/p1", Resources: []chain.Resource{{Type: "Patient", ID: "p1", Revision: 4, Digest: digest[:]}},
	}}
	x := open(t, filepath.Join(t.TempDir(), "index.db"), secret)
	if err := x.Restore(t.Context(), 77, body, e, "3"); err != nil {
		t.Fatal(err)
	}
	rows, err := x.Lookup(t.Context(), "Patient", 10, index.Identifier("MRN-77"))
	if err != nil || len(rows) != 1 || rows[0].Entry != 77 || rows[0].Digest != digest || rows[0].Upstream != "3" {
		t.Errorf("Lookup() = %+v, %v", rows, err)
	}
	if a, err := attributes.Open(rows[0].Attributes, "Patient", "p1", 4); err != nil || a.Patient != "Patient/p1" {
		t.Errorf("attributes %+v, %v", a, err)
	}
	for name, bend := range map[string]func(*chain.Body){
		"another digest": func(b *chain.Body) {
			b.Resources = []chain.Resource{{Type: "Patient", ID: "p1", Revision: 4, Digest: make([]byte, 32)}}
		},
		"another revision": func(b *chain.Body) {
			b.Resources = []chain.Resource{{Type: "Patient", ID: "p1", Revision: 5, Digest: digest[:]}}
		},
		"another kind":    func(b *chain.Body) { b.Kind = chain.WriteFailed },
		"another patient": func(b *chain.Body) { b.Patient = "Patient/p2" },
	} {
		bent := *body
		bend(&bent)
		if err := x.Restore(t.Context(), 78, &bent, e, "3"); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	e.Terms[20] ^= 1
	if _, err := key.OpenTerms(e); err == nil {
		t.Error("altered terms open")
	}
	if err := x.Restore(t.Context(), 78, body, e, "3"); err == nil {
		t.Error("restored with altered terms")
	}
	if err := key.SealTerms(e, nil); err != nil || e.Terms != nil {
		t.Errorf("no terms: %x, %v", e.Terms, err)
	}
}

func TestReadersAndAWriterDoNotWaitForever(t *testing.T) {
	x := fresh(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				if err := x.Put(context.Background(), row("Observation", fmt.Sprintf("o%d-%d", i, j), 1)); err != nil {
					t.Error(err)
				}
				if _, err := x.ByPatient(context.Background(), "Patient/p1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	rows, err := x.ByPatient(t.Context(), "Patient/p1")
	if err != nil || len(rows) != 160 {
		t.Errorf("%d rows, %v, want 160", len(rows), err)
	}
	entries := lo.Times(50, func(i int) index.Entry { return index.Entry{Row: row("Condition", fmt.Sprint("c", i), 1)} })
	entries = append(entries, index.Entry{}) // the last is no row: all or none
	if err := x.PutAll(t.Context(), entries); err == nil {
		t.Error("put a row of nothing")
	}
	if rows, err := x.ByPatient(t.Context(), "Patient/p1", "Condition"); err != nil || len(rows) != 0 {
		t.Errorf("%d rows of a transaction that failed, %v", len(rows), err)
	}
}

func FuzzIdentifier(f *testing.F) {
	f.Add("urn:mrn|1", "urn:mrn", "1")
	f.Fuzz(func(t *testing.T, search, system, value string) {
		r, err := fhir.New(map[string]any{"resourceType": "Patient", "id": "x", "identifier": []any{map[string]any{"system": system, "value": value}}})
		if err != nil {
			return
		}
		if found := lo.Contains(index.Terms(r), index.Identifier(search)); found && search != value && search != system+"|"+value && value != "" {
			// A value with a bar in it may be found as system and value; nothing else may.
			if !strings.Contains(value, "|") && !strings.Contains(system, "|") {
				t.Errorf("%q finds %q|%q", search, system, value)
			}
		}
	})
}

func BenchmarkCurrent(b *testing.B) {
	x := fresh(b)
	for i := range 1000 {
		put(b, x, row("Observation", fmt.Sprint("o", i), 1))
	}
	for b.Loop() {
		if _, err := x.Current(b.Context(), "Observation", "o500"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	x := fresh(b)
	i := 0
	for b.Loop() {
		i++
		put(b, x, row("Observation", fmt.Sprint("o", i), 1), index.Identifier(fmt.Sprint(i)))
	}
}
