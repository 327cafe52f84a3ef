package gateway_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/store"
	"github.com/wardkey/wardkey/policy"
)

// backup copies the store's file, and returns how to put the copy in its place.
// The gateway must be closed meanwhile.
func (w *ward) backup() (rollBack func()) {
	w.t.Helper()
	file := filepath.Join(w.Dir, "store.db")
	swap := func(from, to string) {
		w.check(w.store.Close())
		for _, more := range []string{"-wal", "-shm"} {
			_ = os.Remove(to + more) // of the database that is replaced; there may be none
		}
		data, err := os.ReadFile(from)
		w.check(err)
		w.check(os.WriteFile(to, data, 0o600))
		w.store, err = store.Open(context.Background(), store.Config{Path: file})
		w.check(err)
		w.line.inner = w.store.Handler()
	}
	swap(file, file+".old")
	return func() { swap(file+".old", file) }
}

// told waits until the log says that everything written so far is settled.
func (w *ward) told() {
	w.t.Helper()
	all := w.all(0)
	_, last, _ := lo.FindLastIndexOf(all, func(b *chain.Body) bool { return b.Kind == chain.Write })
	w.eventually("the log says what is settled", func() bool {
		return lo.SomeBy(w.all(0), func(b *chain.Body) bool {
			return b.Kind == chain.Admin && b.Action == "settled" && b.Count > uint64(last)
		})
	})
}

// heavier is the observation with another weight.
func heavier(t *testing.T, id string) *fhir.Resource {
	t.Helper()
	return resourceOf(t, strings.Replace(string(weight(t, id, "p1", 5).JSON()), "70.50", "99.90", 1))
}

// TestARolledBackStoreIsFoundOutWithoutTheIndex: an index is rebuilt from log and
// store, and the store may be an old one.
func TestARolledBackStoreIsFoundOutWithoutTheIndex(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.load(s.loader, weight(t, "gone", "p1", 3))
	s.check(s.gateway.Close())
	rollBack := s.backup()
	s.open()
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: heavier(t, "o1")}); a.status != 200 {
		t.Fatal(a)
	}
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/gone", token: s.loader}); a.status != 204 {
		t.Fatal(a)
	}
	s.load(s.loader, weight(t, "new", "p1", 9))
	if a := s.do(asking{method: "PUT", path: "/fhir/Patient/p1", token: s.loader, body: patient(t, "p1")}); a.status != 200 {
		t.Fatal(a)
	}
	s.told()
	s.check(s.gateway.Close())
	rollBack()
	size := s.Log.Size()
	s.openIndex("another.db")
	s.open()

	stranger := s.signIn("Practitioner/d9", "doctor")
	for _, path := range []string{"/fhir/Observation/o1", "/fhir/Observation/gone", "/fhir/Observation/new", "/fhir/Observation/o1/_history",
		"/fhir/Observation?patient=Patient/p1", "/fhir/Observation/o1/_history/2", "/fhir/Patient?identifier=MRN-00p1-77"} {
		if a := s.get(s.doctor, path); a.status != http.StatusInternalServerError || !strings.Contains(string(a.body), `"security"`) {
			t.Errorf("%s: %.300v, want an integrity fault", path, a)
		}
	}
	for _, path := range []string{"/fhir/Observation/o1", "/fhir/Observation/new"} {
		if a := s.get(stranger, path); a.status != http.StatusNotFound {
			t.Errorf("%s to a stranger: %v", path, a)
		}
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1/_history/1"); a.status != 200 {
		t.Errorf("what the store still has: %v", a)
	}
	if failed := lo.Filter(s.since(size), func(b *chain.Body, _ int) bool { return b.Kind == chain.WriteFailed }); len(failed) > 0 {
		t.Errorf("the log says of acknowledged writes that they failed: %+v", failed[0].Entry)
	}
	if n := strings.Count(s.logs.String(), "the store has lost a write"); n != 4 {
		t.Errorf("%d alerts, want 4", n)
	}
	// The next start finds the same, and says nothing new.
	size = s.Log.Size()
	s.restart()
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusInternalServerError {
		t.Errorf("after another start: %v", a)
	}
	if got := s.written(size); len(got) != 0 {
		t.Errorf("a second start wrote %v", got)
	}
	// Who has the data may write it again.
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: heavier(t, "o1")}); a.status != 200 || a.header.Get("ETag") != `W/"3"` {
		t.Errorf("mended: %v", a)
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != 200 || !strings.Contains(string(a.body), "99.90") {
		t.Errorf("mended: %v", a)
	}
}

// TestAReadOfARevisionSettlesItsWrite: before the log is told, an entry that names
// a revision says as much.
func TestAReadOfARevisionSettlesItsWrite(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.told()
	s.check(s.gateway.Close())
	rollBack := s.backup()
	// What a gateway leaves that is killed before it tells the log.
	intend := func(r *fhir.Resource, kind chain.Kind) {
		a, err := policy.Describe(r, policy.DefaultLabelling(), time.Now())
		s.check(err)
		envelope, err := s.Sealer.Seal(r, a, 2)
		s.check(err)
		digest := envelope.Digest()
		e := chain.Entry{
			Kind: chain.Write, Actor: "Client/loader", Action: policy.Update, Patient: a.Patient, Correlation: r.ID(), Decision: "permit",
			Resources: []chain.Resource{{Type: r.Type(), ID: r.ID(), Revision: 2, Digest: digest[:]}},
		}
		s.Append(e)
		if kind != "" {
			e.Kind, e.Action = kind, policy.Read
			s.Append(e)
		}
	}
	intend(weight(t, "o1", "p1", 6), chain.Access)
	intend(weight(t, "o2", "p2", 6), "")
	rollBack()
	size := s.Log.Size()
	s.openIndex("another.db")
	s.open()
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != http.StatusInternalServerError {
		t.Errorf("read before, and not there: %v", a)
	}
	// Nobody was told that the other one was there.
	if got := s.written(size); !slices.Equal(got, []chain.Kind{chain.WriteFailed}) {
		t.Errorf("wrote %v", got)
	}
	if a := s.get(s.signIn("Patient/p2"), "/fhir/Observation/o2"); a.status != 200 {
		t.Errorf("never acknowledged: %v", a)
	}
}

func TestADeletionThatAnotherWriteFollowedIsNoLoss(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if a := s.do(asking{method: "DELETE", path: "/fhir/Observation/o1", token: s.loader}); a.status != 204 {
		t.Fatal(a)
	}
	if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", 8)}); a.status != 201 {
		t.Fatal(a)
	}
	s.check(s.gateway.Close())
	size := s.Log.Size()
	s.openIndex("another.db")
	s.open()
	if a := s.get(s.doctor, "/fhir/Observation/o1"); a.status != 200 || a.header.Get("ETag") != `W/"3"` {
		t.Errorf("%v", a)
	}
	if a := s.get(s.doctor, "/fhir/Observation/o1/_history/2"); a.status != 410 {
		t.Errorf("the deletion: %v", a)
	}
	if got := s.written(size); len(got) != 0 || strings.Contains(s.logs.String(), "has lost a write") {
		t.Errorf("filling the index wrote %v; %s", got, s.logs)
	}
}

func TestTheLogIsToldWhatIsSettledOnceASecondAtMost(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	settled := func() []*chain.Body {
		return lo.Filter(s.all(0), func(b *chain.Body, _ int) bool { return b.Kind == chain.Admin })
	}
	s.told()
	n := len(settled())
	for day := range 20 {
		if a := s.do(asking{method: "PUT", path: "/fhir/Observation/o1", token: s.loader, body: weight(t, "o1", "p1", day+1)}); a.status != 200 {
			t.Fatal(a)
		}
	}
	s.told()
	all := settled()
	if len(all) == n {
		t.Error("it was not told")
	}
	for i := 1; i < len(all); i++ {
		if all[i].At().Sub(all[i-1].At()) < 900*time.Millisecond || all[i].Count <= all[i-1].Count {
			t.Errorf("told %d at %v and %d at %v", all[i-1].Count, all[i-1].At(), all[i].Count, all[i].At())
		}
	}
	// Reads settle nothing, and at the end there is nothing left to tell.
	s.get(s.doctor, "/fhir/Observation/o1")
	s.check(s.gateway.Close())
	if got := settled(); len(got) != len(all) {
		t.Errorf("told %d times, want %d", len(got), len(all))
	}
	s.open()
	s.load(s.loader, weight(t, "last", "p1", 1))
	size := s.Log.Size()
	s.check(s.gateway.Close())
	if got := settled(); got[len(got)-1].Count < size {
		t.Errorf("at the end the log is told %d of %d", got[len(got)-1].Count, size)
	}
}
