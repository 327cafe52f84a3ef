package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/fhir/store"
)

func newClient(t testing.TB, c client.Config) *client.Client {
	t.Helper()
	made, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

// onStore is a client of the embedded store, over a real connection.
func onStore(t testing.TB, c store.Config) *client.Client {
	t.Helper()
	c.Path = filepath.Join(t.TempDir(), "fhir.db")
	s, err := store.Open(t.Context(), c)
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
	return newClient(t, client.Config{Base: h.URL + "/fhir"})
}

func parse(t testing.TB, json string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse([]byte(json), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content is a resource without what a server adds.
func content(t testing.TB, r *fhir.Resource) string {
	t.Helper()
	if r == nil {
		return "nothing"
	}
	bare, err := r.WithoutMeta()
	if err != nil {
		t.Fatal(err)
	}
	return string(bare.Canonical())
}

func wantIs(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestOneLifeOfAResource(t *testing.T) {
	c, ctx := onStore(t, store.Config{}), t.Context()
	patient := parse(t, `{"resourceType":"Patient","id":"p","active":true}`)
	_, err := c.Read(ctx, "Patient", "p")
	wantIs(t, err, client.ErrNotFound)
	_, err = c.History(ctx, "Patient", "p")
	wantIs(t, err, client.ErrNotFound)

	first, err := c.Put(ctx, patient, "")
	if err != nil || first.VersionID != "1" || content(t, first.Resource) != content(t, patient) || first.LastUpdated.IsZero() {
		t.Fatalf("put: %+v, %v", first, err)
	}
	read, err := c.Read(ctx, "Patient", "p")
	if err != nil || read.VersionID != "1" || read.Resource.Meta().VersionID != "1" || content(t, read.Resource) != content(t, patient) {
		t.Errorf("read: %+v, %v", read, err)
	}
	changed := parse(t, `{"resourceType":"Patient","id":"p","active":false}`)
	_, err = c.Put(ctx, changed, "7")
	wantIs(t, err, client.ErrConflict)
	if errors.Is(err, client.ErrRejected) {
		t.Error("a conflict is called a rejection too")
	}
	second, err := c.Put(ctx, changed, "1")
	if err != nil || second.VersionID != "2" {
		t.Fatalf("second put: %+v, %v", second, err)
	}
	_, err = c.Delete(ctx, "Patient", "p", "1")
	wantIs(t, err, client.ErrConflict)
	deleted, err := c.Delete(ctx, "Patient", "p", "2")
	if err != nil || deleted.VersionID != "3" || !deleted.Deleted || deleted.Resource != nil {
		t.Fatalf("delete: %+v, %v", deleted, err)
	}
	_, err = c.Read(ctx, "Patient", "p")
	wantIs(t, err, client.ErrGone)
	_, err = c.VRead(ctx, "Patient", "p", "3")
	wantIs(t, err, client.ErrGone)
	_, err = c.VRead(ctx, "Patient", "p", "9")
	wantIs(t, err, client.ErrNotFound)
	_, err = c.Delete(ctx, "Patient", "p", "3")
	wantIs(t, err, client.ErrGone)
	if _, err = c.Delete(ctx, "Patient", "p", ""); err != nil {
		t.Errorf("deleting again: %v", err)
	}
	old, err := c.VRead(ctx, "Patient", "p", "1")
	if err != nil || content(t, old.Resource) != content(t, patient) {
		t.Errorf("the first version: %+v, %v", old, err)
	}
	history, err := c.History(ctx, "Patient", "p")
	got := lo.Map(history, func(v client.Version, _ int) string {
		return fmt.Sprint(v.VersionID, " ", v.Deleted, " ", content(t, v.Resource))
	})
	want := []string{"3 true nothing", "2 false " + content(t, changed), "1 false " + content(t, patient)}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("history %q, %v, want %q", got, err, want)
	}

	created, err := c.Create(ctx, patient)
	if err != nil || created.Resource.ID() == "p" || created.VersionID != "1" {
		t.Fatalf("create: %+v, %v", created, err)
	}
	if read, err = c.Read(ctx, "Patient", created.Resource.ID()); err != nil || content(t, read.Resource) != content(t, created.Resource) {
		t.Errorf("reading it: %v", err)
	}
	_, err = c.Put(ctx, parse(t, `{"resourceType":"Patient","id":"p","active":true}`), "")
	if err != nil {
		t.Errorf("put again after deletion: %v", err)
	}
}

func TestReadManyReturnsWhatThereIs(t *testing.T) {
	c, ctx := onStore(t, store.Config{MaxPage: 20}), t.Context()
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range 130 {
		group.Go(func() error {
			_, err := c.Put(each, parse(t, fmt.Sprintf(`{"resourceType":"Basic","id":"b%d"}`, i)), "")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Delete(ctx, "Basic", "b7", ""); err != nil {
		t.Fatal(err)
	}
	ids := append(lo.Times(130, func(i int) string { return fmt.Sprint("b", i) }), "b1", "absent")
	found, err := c.ReadMany(ctx, "Basic", ids)
	if err != nil || len(found) != 129 {
		t.Fatalf("%d found, %v", len(found), err)
	}
	for id, v := range found {
		if v.Resource.ID() != id || v.VersionID != "1" || v.LastUpdated.IsZero() {
			t.Errorf("%s: %+v", id, v)
		}
	}
	if found, err = c.ReadMany(ctx, "Basic", nil); err != nil || len(found) != 0 {
		t.Errorf("of none: %v, %v", found, err)
	}
}

func TestSearchFollowsPages(t *testing.T) {
	c, ctx := onStore(t, store.Config{}), t.Context()
	for _, p := range fhirtest.Patients() {
		if _, err := c.Put(ctx, p, ""); err != nil {
			t.Fatal(err)
		}
	}
	b, err := c.Search(ctx, "Patient", url.Values{"gender": {"female,male"}, "_count": {"3"}})
	found := 0
	for more := err == nil; more; {
		found += len(b.Entries)
		b, more, err = c.NextPage(ctx, b)
	}
	if err != nil || found != len(fhirtest.Patients()) {
		t.Errorf("%d found, %v", found, err)
	}
	_, err = c.Search(ctx, "Patient", url.Values{"shoe": {"44"}})
	wantIs(t, err, client.ErrRejected)
	rejected, ok := errors.AsType[*client.RejectedError](err)
	if !ok || rejected.Status != http.StatusBadRequest || rejected.Outcome == nil {
		t.Errorf("rejected: %+v", rejected)
	}
	statement, err := c.Capabilities(ctx)
	if err != nil || statement.Type() != "CapabilityStatement" {
		t.Errorf("capabilities: %v", err)
	}
}

func TestAHistoryLongerThanAPage(t *testing.T) {
	c, ctx := onStore(t, store.Config{MaxPage: 10}), t.Context()
	for i := range 35 {
		if _, err := c.Put(ctx, parse(t, `{"resourceType":"Basic","id":"b"}`), lo.Ternary(i == 0, "", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	history, err := c.History(ctx, "Basic", "b")
	if err != nil || len(history) != 35 || history[0].VersionID != "35" || history[34].VersionID != "1" {
		t.Errorf("%d versions, %v", len(history), err)
	}
}

func TestNothingIsSentThatIsNoRequest(t *testing.T) {
	asked := 0
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer h.Close()
	c, ctx := newClient(t, client.Config{Base: h.URL}), t.Context()
	odd := parse(t, `{"resourceType":"Odd","id":"x"}`)
	noID := parse(t, `{"resourceType":"Patient"}`)
	for name, call := range map[string]func() error{
		"a type that is none":     func() error { _, err := c.Read(ctx, "Odd", "x"); return err },
		"an id with a slash":      func() error { _, err := c.Read(ctx, "Patient", "../x"); return err },
		"a version with a slash":  func() error { _, err := c.VRead(ctx, "Patient", "x", "../x"); return err },
		"a version with a quote":  func() error { _, err := c.Put(ctx, noID, `1", W/"2`); return err },
		"a version of two lines":  func() error { _, err := c.Delete(ctx, "Patient", "p", "1\r\nX: y"); return err },
		"many, one of them bad":   func() error { _, err := c.ReadMany(ctx, "Patient", []string{"a", "b,c"}); return err },
		"putting without an id":   func() error { _, err := c.Put(ctx, noID, ""); return err },
		"putting an odd type":     func() error { _, err := c.Put(ctx, odd, ""); return err },
		"creating an odd type":    func() error { _, err := c.Create(ctx, odd); return err },
		"validating an odd type":  func() error { _, err := c.Validate(ctx, odd); return err },
		"searching an odd type":   func() error { _, err := c.Search(ctx, "Patient/p", nil); return err },
		"the history of a number": func() error { _, err := c.History(ctx, "Patient", ""); return err },
	} {
		if err := call(); err == nil || errors.Is(err, client.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked > 0 {
		t.Errorf("%d requests were sent", asked)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for _, base := range []string{"", "/fhir", "ftp://h/fhir", "http://", "http://u:p@h/fhir", "http://h/fhir?x=y", "http://h/fhir#x", "http://h:port/"} {
		if _, err := client.New(client.Config{Base: base}); err == nil {
			t.Errorf("%q is taken for a base", base)
		}
	}
	if _, err := client.New(client.Config{Base: "http://h/fhir", AnswerBytes: -1}); err == nil {
		t.Error("a negative limit is taken")
	}
	c := newClient(t, client.Config{Base: "https://h/fhir/"})
	if c.Base() != "https://h/fhir" {
		t.Errorf("base %s", c.Base())
	}
}

func TestTheContextEndsTheWait(t *testing.T) {
	release := make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer h.Close()
	defer close(release)
	c := newClient(t, client.Config{Base: h.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Read(ctx, "Patient", "p")
	wantIs(t, err, client.ErrUnavailable)
	wantIs(t, err, context.DeadlineExceeded)
}
