package hapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/fhir/store"
	"github.com/wardkey/wardkey/gateway/e2e/hapi"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/recordstest"
)

// perType is how many records of each type are sent through.
const perType = 10

// base is the running server's; "" if this run does not include it.
var base string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("WARDKEY_E2E_HAPI") == "" {
		fmt.Println("HAPI FHIR: not run: set WARDKEY_E2E_HAPI=1 (needs a JDK and Maven)")
		return m.Run()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	begun := time.Now()
	if err := hapi.Build(ctx, ".", os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	built := time.Now()
	server, err := hapi.Start(ctx, ".", os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("HAPI FHIR: built in %v, started in %v\n", built.Sub(begun).Round(time.Second), time.Since(built).Round(time.Second))
	base = server.Base
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// connect returns a client of the server, or false, plainly logged, if this run does
// not include it.
func connect(t *testing.T) (*client.Client, bool) {
	t.Helper()
	if base == "" {
		t.Log("not run: set WARDKEY_E2E_HAPI=1")
		return nil, false
	}
	c, err := client.New(client.Config{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, true
}

// sample renames the synthetic hospital, so that no id says anything and no two
// tests meet, and picks some records of each type. With them comes whatever
// they refer to, since HAPI takes no reference that leads nowhere; all of it in an
// order in which it can be loaded.
func sample(t *testing.T, about string) (picked, all []*fhir.Resource) {
	t.Helper()
	rs := fhirtest.Synthea()
	rs = append(rs, fhirtest.Genomics(fhirtest.Patients()[0].Ref())...)
	rs = lo.Map(rs, func(r *fhir.Resource, _ int) *fhir.Resource { return tidy(t, r) })
	rs = fhirtest.Renamed(lo.UniqBy(rs, (*fhir.Resource).Ref), func(ref fhir.Ref) string {
		sum := sha256.Sum256([]byte(about + ref.String()))
		return "w" + hex.EncodeToString(sum[:15])
	})
	known := lo.KeyBy(rs, (*fhir.Resource).Ref)
	seen := map[fhir.Ref]struct{}{}
	var add func(r *fhir.Resource)
	add = func(r *fhir.Resource) {
		if _, already := seen[r.Ref()]; already {
			return
		}
		seen[r.Ref()] = struct{}{}
		for _, ref := range references(r.Tree()) {
			if target, ok := known[ref]; ok {
				add(target)
			}
		}
		all = append(all, r)
	}
	count := map[string]int{}
	for _, r := range rs {
		if count[r.Type()] < perType {
			count[r.Type()]++
			picked = append(picked, r)
			add(r)
		}
	}
	return picked, all
}

// tidy takes an empty extension of the id out, which one of the published examples
// has, and which HAPI does not keep.
func tidy(t *testing.T, r *fhir.Resource) *fhir.Resource {
	t.Helper()
	tidied, err := r.With(func(tree map[string]any) {
		if empty, ok := tree["_id"].(map[string]any); ok && len(empty) == 0 {
			delete(tree, "_id")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return tidied
}

// references lists the literal references in a resource.
func references(node any) []fhir.Ref {
	var refs []fhir.Ref
	switch n := node.(type) {
	case map[string]any:
		if s, ok := n["reference"].(string); ok {
			if ref, err := fhir.ParseRef(s, ""); err == nil {
				refs = append(refs, fhir.Ref{Type: ref.Type, ID: ref.ID})
			}
		}
		for _, v := range n {
			refs = append(refs, references(v)...)
		}
	case []any:
		for _, v := range n {
			refs = append(refs, references(v)...)
		}
	}
	return refs
}

func content(t *testing.T, r *fhir.Resource) string {
	t.Helper()
	bare, err := r.WithoutMeta()
	if err != nil {
		t.Fatal(err)
	}
	return string(bare.Canonical())
}

// errorsOf are the errors that $validate finds.
func errorsOf(outcome *fhir.Resource) []string {
	return lo.FilterMap(fhir.Issues(outcome), func(i fhir.Issue, _ int) (string, bool) {
		return fmt.Sprint(i.Diagnostics, i.Details, i.Expression), i.Severity == "error" || i.Severity == "fatal"
	})
}

// The client finds HAPI to be a store like any other: what is put is read back, one
// by one and many at once; a stale If-Match is a conflict; histories end in a
// deletion.
func TestHAPIIsAStoreLikeAnyOther(t *testing.T) {
	c, ok := connect(t)
	if !ok {
		return
	}
	ctx := t.Context()
	picked, all := sample(t, "plain")
	for _, r := range all {
		if _, err := c.Put(ctx, r, ""); err != nil {
			t.Fatalf("%v: %v", err, particulars(err))
		}
	}
	byType := lo.GroupBy(picked, (*fhir.Resource).Type)
	t.Logf("%d records of %d types, %d with what they refer to", len(picked), len(byType), len(all))
	for typ, rs := range byType {
		found, err := c.ReadMany(ctx, typ, append(lo.Map(rs, func(r *fhir.Resource, _ int) string { return r.ID() }), "absent"))
		if err != nil || len(found) != len(rs) {
			t.Fatalf("%s: %d of %d found, %v", typ, len(found), len(rs), err)
		}
		for _, r := range rs {
			lives(t, c, r, found[r.ID()])
		}
	}
	// Last in, first out: HAPI deletes nothing that is referred to.
	slices.Reverse(all)
	for _, r := range all {
		v, err := c.Read(ctx, r.Type(), r.ID())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Delete(ctx, r.Type(), r.ID(), "77"); !errors.Is(err, client.ErrConflict) {
			t.Errorf("deleting another version of %s: %v", r.Ref(), err)
		}
		deleted, err := c.Delete(ctx, r.Type(), r.ID(), v.VersionID)
		if err != nil {
			t.Fatalf("%v: %v", err, particulars(err))
		}
		if _, err := c.Read(ctx, r.Type(), r.ID()); !errors.Is(err, client.ErrGone) {
			t.Errorf("reading %s after its deletion: %v", r.Ref(), err)
		}
		history, err := c.History(ctx, r.Type(), r.ID())
		if err != nil || len(history) < 2 || !history[0].Deleted || history[0].VersionID != deleted.VersionID || history[1].Deleted {
			t.Errorf("%s: history %+v, %v", r.Ref(), history, err)
		}
	}
}

// lives takes one resource, just put, through an update.
func lives(t *testing.T, c *client.Client, r *fhir.Resource, among client.Version) {
	t.Helper()
	ctx := t.Context()
	first, err := c.Read(ctx, r.Type(), r.ID())
	if err != nil || first.VersionID != among.VersionID || content(t, first.Resource) != content(t, among.Resource) {
		t.Fatalf("%s: read alone and among others differ, %v", r.Ref(), err)
	}
	if got, want := content(t, first.Resource), content(t, r); got != want {
		t.Errorf("%s changed:\n%s", r.Ref(), difference(got, want))
	}
	changed, err := r.With(func(tree map[string]any) { tree["language"] = "en-GB" })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, changed, "77"); !errors.Is(err, client.ErrConflict) {
		t.Errorf("%s: updating another version: %v", r.Ref(), err)
	}
	second, err := c.Put(ctx, changed, first.VersionID)
	if err != nil || second.VersionID == first.VersionID {
		t.Fatalf("%s: version %s after %s, %v", r.Ref(), second.VersionID, first.VersionID, err)
	}
	if _, err := c.Put(ctx, r, first.VersionID); !errors.Is(err, client.ErrConflict) {
		t.Errorf("%s: updating the first version again: %v", r.Ref(), err)
	}
	old, err := c.VRead(ctx, r.Type(), r.ID(), first.VersionID)
	if err != nil || content(t, old.Resource) != content(t, first.Resource) {
		t.Errorf("%s: the first version, read again: %v", r.Ref(), err)
	}
	history, err := c.History(ctx, r.Type(), r.ID())
	if err != nil || len(history) != 2 || history[0].VersionID != second.VersionID || history[1].VersionID != first.VersionID {
		t.Errorf("%s: history %+v, %v", r.Ref(), history, err)
	}
}

// difference shows where two texts begin to differ.
func difference(got, want string) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	cut := func(s string) string { return s[max(0, min(i-60, len(s))):min(i+60, len(s))] }
	return "got  …" + cut(got) + "…\nwant …" + cut(want) + "…"
}

// particulars are what the server said; the records are synthetic.
func particulars(err error) []fhir.Issue {
	if rejected, ok := errors.AsType[*client.RejectedError](err); ok {
		return fhir.Issues(rejected.Outcome)
	}
	return nil
}

func TestHAPIChoosesIDs(t *testing.T) {
	c, ok := connect(t)
	if !ok {
		return
	}
	r, err := fhir.Parse([]byte(`{"resourceType":"Patient","id":"mine","active":true}`), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Create(t.Context(), r)
	if err != nil || v.Resource.ID() == "mine" || v.VersionID != "1" {
		t.Fatalf("%+v, %v", v, err)
	}
	if got, err := c.Read(t.Context(), "Patient", v.Resource.ID()); err != nil || got.VersionID != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	bad, err := fhir.Parse([]byte(`{"resourceType":"Patient","active":"perhaps"}`), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), bad); !errors.Is(err, client.ErrRejected) {
		t.Errorf("a patient who is perhaps active: %v", err)
	}
	if outcome, err := c.Validate(t.Context(), bad); err != nil || len(errorsOf(outcome)) == 0 {
		t.Errorf("$validate: %v", err)
	}
}

// The embedded store's own statement about itself passes as well.
func TestHAPIAcceptsTheEmbeddedStoresCapabilities(t *testing.T) {
	c, ok := connect(t)
	if !ok {
		return
	}
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "fhir.db")})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	embedded, err := client.New(client.Config{Base: h.URL + "/fhir"})
	if err != nil {
		t.Fatal(err)
	}
	statement, err := embedded.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := c.Validate(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	if found := errorsOf(outcome); len(found) > 0 {
		t.Errorf("%d errors, such as %q", len(found), found[:min(3, len(found))])
	}
}

// Records of every type are sealed, accepted by $validate, kept by HAPI byte for
// byte, opened by the custodians, updated and deleted; and HAPI never sees a word of
// them.
func TestHAPIKeepsSealedRecords(t *testing.T) {
	c, ok := connect(t)
	if !ok {
		return
	}
	ctx := t.Context()
	picked, all := sample(t, "sealed")
	h := recordstest.New(t, recordstest.Options{})
	canaries := fhirtest.Canaries(all)
	// The patients come first: a skeleton keeps its reference to the patient.
	patients := lo.Filter(all, func(r *fhir.Resource, _ int) bool { return r.Type() == "Patient" })
	rs := lo.UniqBy(append(patients, picked...), (*fhir.Resource).Ref)

	versions := map[fhir.Ref]string{}
	for _, r := range rs {
		v := putSealed(t, c, h, r, 1, "")
		versions[r.Ref()] = v.VersionID
		for _, canary := range canaries {
			if strings.Contains(string(v.Resource.JSON()), canary) {
				t.Errorf("%s shows %q", r.Ref(), canary)
			}
		}
	}
	opened := open(t, c, h, rs)
	for _, r := range rs {
		changed, err := r.With(func(tree map[string]any) { tree["language"] = "en-GB" })
		if err != nil {
			t.Fatal(err)
		}
		v := putSealed(t, c, h, changed, 2, versions[r.Ref()])
		if v.VersionID == versions[r.Ref()] {
			t.Errorf("%s: the update is version %s too", r.Ref(), v.VersionID)
		}
	}
	slices.Reverse(rs)
	for _, r := range rs {
		if _, err := c.Delete(ctx, r.Type(), r.ID(), ""); err != nil {
			t.Fatalf("%v: %v", err, particulars(err))
		}
		if _, err := c.Read(ctx, r.Type(), r.ID()); !errors.Is(err, client.ErrGone) {
			t.Errorf("reading %s after its deletion: %v", r.Ref(), err)
		}
	}
	types := lo.CountValuesBy(rs, (*fhir.Resource).Type)
	t.Logf("%d records of %d types sealed, validated and kept, %d of them opened: %s", len(rs), len(types), opened,
		strings.Join(lo.Map(slices.Sorted(maps.Keys(types)), func(typ string, _ int) string { return fmt.Sprintf("%s %d", typ, types[typ]) }), ", "))
}

// putSealed seals a revision, has its skeleton validated, puts it, and checks what is
// read back.
func putSealed(t *testing.T, c *client.Client, h *recordstest.Hospital, r *fhir.Resource, revision uint64, ifMatch string) client.Version {
	t.Helper()
	ctx := t.Context()
	attributes, err := policy.Describe(r, policy.DefaultLabelling(), h.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	envelope := h.SealAs(r, attributes, revision)
	skeleton, err := records.Skeleton(r, envelope)
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := c.Validate(ctx, skeleton)
	if err != nil {
		t.Fatal(err)
	}
	if found := errorsOf(outcome); len(found) > 0 {
		t.Errorf("$validate of %s: %q", r.Ref(), found)
	}
	if _, err := c.Put(ctx, skeleton, ifMatch); err != nil {
		t.Fatalf("%v: %v", err, particulars(err))
	}
	v, err := c.Read(ctx, r.Type(), r.ID())
	if err != nil {
		t.Fatal(err)
	}
	back, err := records.FromSkeleton(v.Resource)
	if err != nil {
		t.Fatalf("%s: %v", r.Ref(), err)
	}
	if back.Digest() != envelope.Digest() {
		t.Errorf("%s: the envelope read back has another digest", r.Ref())
	}
	return v
}

// open has each patient read what the store holds about them, and compares it with
// what was sealed. It returns how many records there were: those of no
// patient are nobody's to read that way.
func open(t *testing.T, c *client.Client, h *recordstest.Hospital, rs []*fhir.Resource) int {
	t.Helper()
	opened := 0
	byPatient := map[string][]*fhir.Resource{}
	for _, r := range rs {
		owner, ok, err := fhir.Owner(r)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			byPatient[owner.String()] = append(byPatient[owner.String()], r)
		}
	}
	for patient, mine := range byPatient {
		session := h.SignIn(patient)
		for _, some := range lo.Chunk(mine, 20) {
			envelopes := lo.Map(some, func(r *fhir.Resource, _ int) *records.Envelope {
				v, err := c.Read(t.Context(), r.Type(), r.ID())
				if err != nil {
					t.Fatal(err)
				}
				envelope, err := records.FromSkeleton(v.Resource)
				if err != nil {
					t.Fatal(err)
				}
				return envelope
			})
			got, err := h.Read(t.Context(), session, "PATRQT", envelopes...)
			if err != nil {
				t.Fatalf("open %d records of %s: %v", len(some), patient, err)
			}
			for i, r := range some {
				if content(t, got[i]) != content(t, r) {
					t.Errorf("%s was opened and is not what was sealed", r.Ref())
				}
			}
			opened += len(got)
		}
	}
	return opened
}
