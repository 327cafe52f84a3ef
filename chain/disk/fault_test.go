package disk_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/disk"
)

// day is what a log goes through: patients come, a segment is closed, tiles are
// filled, a patient is erased. It goes on after errors, as a server would, and
// returns what was acknowledged: index and correlation id.
func day(t *testing.T, s *chaintest.Setup, files disk.Files) map[uint64]string {
	acknowledged := make(map[uint64]string)
	store, err := disk.Open(disk.Config{Dir: "log", Files: files, SegmentBytes: 3000})
	if err != nil {
		return acknowledged
	}
	defer store.Close()
	l, err := chain.Open(context.Background(), s.Config(store))
	if err != nil {
		return acknowledged
	}
	defer l.Close()
	call := 0
	enter := func(entries ...chain.Entry) {
		call++
		for i := range entries {
			entries[i].Correlation = fmt.Sprintf("call %d entry %d", call, i)
		}
		receipts, err := l.Append(context.Background(), entries...)
		if err != nil && !errors.Is(err, chain.ErrUnavailable) {
			t.Errorf("Append() = %v", err)
		}
		for i, r := range receipts {
			acknowledged[r.Index] = entries[i].Correlation
		}
	}
	for i := range 4 {
		enter(chaintest.Entry(fmt.Sprintf("Patient/%d", i)), chaintest.Entry("Patient/0"))
	}
	_ = l.Publish(context.Background())
	many := make([]chain.Entry, 256)
	for i := range many {
		many[i] = chain.Entry{Kind: chain.Deny}
	}
	enter(many...)
	enter(chaintest.Entry("Patient/1"))
	enter(chain.Entry{Kind: chain.Erase, Patient: "Patient/1"})
	_ = l.Erase(context.Background(), "Patient/1")
	enter(chaintest.Entry("Patient/1"))
	return acknowledged
}

// inspect opens the log again, finds everything acknowledged, goes on, and
// audits it.
func inspect(t *testing.T, s *chaintest.Setup, files *memory, acknowledged map[uint64]string) {
	t.Helper()
	store, err := disk.Open(disk.Config{Dir: "log", Files: files, SegmentBytes: 3000})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c, found := s.Config(store), make(map[uint64]string)
	c.Apply = func(index uint64, b *chain.Body) { found[index] = b.Correlation }
	l, err := chain.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	for index, correlation := range acknowledged {
		if got, ok := found[index]; ok && got == correlation {
			continue
		}
		if _, err := l.Body(context.Background(), index); !errors.Is(err, chain.ErrErased) {
			t.Fatalf("entry %d, %s: %q, %v", index, correlation, found[index], err)
		}
	}
	if _, err := l.Append(context.Background(), chaintest.Entry("Patient/0"), chaintest.Entry("Patient/later")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	report, err := audit.VerifyFiles(context.Background(), files, nil, audit.Options{LogKey: s.Key})
	if err != nil || !report.OK {
		t.Fatalf("audit: %v %+v", err, report.Findings)
	}
}

// Every operation on a file fails once, or is the last that succeeds. Then the
// process is killed, or the power cut, and everything acknowledged is there.
func TestEverythingAcknowledgedSurvivesAFaultInEveryOperation(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	whole := newMemory()
	if n := len(day(t, s, whole)); n != 8+256+3 {
		t.Fatalf("%d entries of a good day", n)
	}
	inspect(t, s, whole.restart(), nil)
	t.Logf("%d operations", whole.operations)
	for failAt := 1; failAt <= whole.operations; failAt++ {
		t.Run(fmt.Sprintf("%d %s", failAt, whole.trace[failAt-1]), func(t *testing.T) {
			t.Parallel()
			for _, dead := range []bool{false, true} {
				files := newMemory()
				files.failAt, files.dead = failAt, dead
				acknowledged := day(t, s, files)
				for name, after := range map[string]*memory{
					"killed":                 files.restart(),
					"power cut":              files.powerCut(false, 0, false),
					"power cut, then zeros":  files.powerCut(true, 3, true),
					"power cut, almost done": files.powerCut(true, 7, false),
				} {
					t.Run(fmt.Sprintf("%s, dead %t", name, dead), func(t *testing.T) { inspect(t, s, after, acknowledged) })
				}
			}
		})
	}
}

func TestAFullDiskRefusesAndRecoversWhenThereIsSpace(t *testing.T) {
	s, files := chaintest.NewSetup(t, "log", 0), newMemory()
	store, err := disk.Open(disk.Config{Dir: "log", Files: files})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	l := s.Open(t, store)
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	files.full = true
	for range 3 {
		if _, err := l.Append(t.Context(), chaintest.Entry("Patient/a"), chaintest.Entry("Patient/b")); !errors.Is(err, chain.ErrUnavailable) || !errors.Is(err, errNoSpace) {
			t.Fatalf("Append() on a full disk = %v", err)
		}
	}
	files.full = false
	receipts := chaintest.Append(t, l, chaintest.Entry("Patient/a"), chaintest.Entry("Patient/b"))
	if receipts[0].Index != 2 {
		t.Errorf("entry %d after the disk was full", receipts[0].Index)
	}
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	inspect(t, s, files.restart(), map[uint64]string{2: ""})
}
