package audit_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/disk"
)

// evidence of a patient and of one entry, from a cosigned log.
func evidence(t testing.TB, s *chaintest.Setup) (patient, entry []byte) {
	t.Helper()
	l := s.Open(t, chaintest.NewStore())
	chaintest.Fill(t, l, 60)
	s.Cosign(t, l, len(s.Cosigners))
	chaintest.Fill(t, l, 5) // not published yet
	patient, err := audit.PatientEvidence(t.Context(), l, "Patient/p-3")
	if err != nil {
		t.Fatal(err)
	}
	entry, err = audit.EntryEvidence(t.Context(), l, 9)
	if err != nil {
		t.Fatal(err)
	}
	return patient, entry
}

func TestEvidenceVerifiesAlone(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 3)
	patient, entry := evidence(t, s)
	for name, data := range map[string][]byte{"patient": patient, "entry": entry} {
		r := audit.VerifyEvidence(data, audit.Options{LogKey: s.Key, Witnesses: s.Vkeys})
		if !r.OK {
			t.Fatalf("%s: %+v", name, r.Findings)
		}
		var text bytes.Buffer
		if err := r.Text(&text); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %d bytes:\n%s", name, len(data), text.String())
		if whole := strings.Contains(text.String(), "completeness is not proven"); whole != (name == "patient") {
			t.Errorf("%s: the remark on completeness", name)
		}
	}
	e, err := audit.DecodeEvidence(patient)
	if err != nil {
		t.Fatal(err)
	}
	bodies, err := e.Bodies()
	if err != nil || len(bodies) != 12 || bodies[0].Seq != 1 || bodies[11].Kind != chain.Access {
		t.Errorf("%d bodies, %v", len(bodies), err)
	}
}

func TestEvidenceShowsNoOtherPatient(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	patient, _ := evidence(t, s)
	for _, other := range []string{"Patient/p-1", "Patient/p-2", "Patient/p-4"} {
		if bytes.Contains(patient, []byte(other)) {
			t.Errorf("%s is in the evidence of p-3", other)
		}
	}
	if !bytes.Contains(patient, []byte("Patient/p-3")) {
		t.Error("it does not show its own")
	}
}

func TestEveryFlippedByteOfEvidenceIsFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	patient, entry := evidence(t, s)
	for _, data := range [][]byte{patient, entry} {
		inParallel(len(data), func(i int) {
			flipped := bytes.Clone(data)
			flipped[i] ^= byte(1 + rand.IntN(255))
			if r := audit.VerifyEvidence(flipped, audit.Options{}); r.OK {
				t.Errorf("byte %d", i)
			}
		})
	}
}

func TestForgedEvidenceIsFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	stranger := chaintest.NewSetup(t, "stranger", 2)
	patient, entry := evidence(t, s)
	strange, _ := evidence(t, stranger)
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		data []byte
		edit func(e *audit.Evidence)
		code string
	}{
		"an entry left out":     {patient, func(e *audit.Evidence) { e.Entries = slices.Delete(e.Entries, 4, 5) }, audit.CodeSequence},
		"the first left out":    {patient, func(e *audit.Evidence) { e.Entries = e.Entries[1:] }, audit.CodeSequence},
		"an entry twice":        {patient, func(e *audit.Evidence) { e.Entries = slices.Insert(e.Entries, 3, e.Entries[3]) }, audit.CodeSequence},
		"two changed places":    {patient, func(e *audit.Evidence) { e.Entries[1], e.Entries[2] = e.Entries[2], e.Entries[1] }, audit.CodeSequence},
		"about another patient": {patient, func(e *audit.Evidence) { e.Patient = "Patient/p-1" }, audit.CodeSequence},
		"another index":         {entry, func(e *audit.Evidence) { e.Entries[0].Index++ }, audit.CodeInclusion},
		"beyond the end":        {entry, func(e *audit.Evidence) { e.Entries[0].Index = 1 << 40 }, audit.CodeInclusion},
		"a proof cut":           {entry, func(e *audit.Evidence) { e.Entries[0].Proof = e.Entries[0].Proof[1:] }, audit.CodeInclusion},
		"a hash cut":            {entry, func(e *audit.Evidence) { e.Entries[0].Proof[0] = e.Entries[0].Proof[0][1:] }, audit.CodeInclusion},
		"a body of its own": {entry, func(e *audit.Evidence) {
			b, err := chain.DecodeBody(e.Entries[0].Body)
			if err != nil {
				t.Fatal(err)
			}
			b.Actor = "Practitioner/another"
			e.Entries[0].Body = b.Encode()
		}, audit.CodeInclusion},
		"another genesis": {entry, func(e *audit.Evidence) { e.Genesis = e.Entries[0] }, audit.CodeGenesis},
		"another log's keys": {patient, func(e *audit.Evidence) {
			e.Info = chain.Info{Origin: chaintest.Origin, Key: stranger.Key, Cosigners: stranger.Vkeys}.Encode()
		}, audit.CodePublished},
		"no cosigners any more": {patient, func(e *audit.Evidence) { e.Info = chain.Info{Origin: chaintest.Origin, Key: s.Key}.Encode() }, audit.CodeGenesis},
		"another log's checkpoint": {patient, func(e *audit.Evidence) {
			other, err := audit.DecodeEvidence(strange)
			if err != nil {
				t.Fatal(err)
			}
			e.Checkpoint = other.Checkpoint
		}, audit.CodePublished},
		"two entries as one": {entry, func(e *audit.Evidence) { e.Entries = append(e.Entries, e.Entries[0]) }, audit.CodeEvidence},
		"no entries":         {patient, func(e *audit.Evidence) { e.Entries = nil }, audit.CodeEvidence},
		"another version":    {patient, func(e *audit.Evidence) { e.Version = 2 }, audit.CodeEvidence},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := audit.DecodeEvidence(tc.data)
			if err != nil {
				t.Fatal(err)
			}
			tc.edit(e)
			data, err := mode.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if r := audit.VerifyEvidence(data, audit.Options{}); !slices.Contains(codes(r), tc.code) {
				t.Errorf("want %s in %+v", tc.code, r)
			}
		})
	}
	if r := audit.VerifyEvidence(patient, audit.Options{LogKey: stranger.Key}); !slices.Contains(codes(r), audit.CodePinned) {
		t.Error("the log's key was not the pinned one")
	}
	if r := audit.VerifyEvidence(patient, audit.Options{Witnesses: stranger.Vkeys}); !slices.Contains(codes(r), audit.CodePinned) {
		t.Error("a pinned witness had not signed")
	}
	if r := audit.VerifyEvidence(append(bytes.Clone(patient), 0), audit.Options{}); r.OK {
		t.Error("a byte more")
	}
}

func TestEvidenceOfWhatCannotBeShown(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	l := s.Open(t, chaintest.NewStore())
	chaintest.Append(t, l, chaintest.Entry("Patient/a"), chain.Entry{Kind: chain.Erase, Patient: "Patient/a"})
	if _, err := audit.EntryEvidence(t.Context(), l, 1); !errors.Is(err, audit.ErrNotPublished) {
		t.Errorf("not published: %v", err)
	}
	if _, err := audit.PatientEvidence(t.Context(), l, "Patient/a"); !errors.Is(err, audit.ErrNotPublished) {
		t.Errorf("not published: %v", err)
	}
	if _, err := audit.PatientEvidence(t.Context(), l, "Patient/nobody"); !errors.Is(err, chain.ErrBeyond) {
		t.Errorf("nobody: %v", err)
	}
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	if err := l.Erase(t.Context(), "Patient/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.EntryEvidence(t.Context(), l, 1); !errors.Is(err, chain.ErrErased) {
		t.Errorf("erased: %v", err)
	}
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := audit.PatientEvidence(t.Context(), l, "Patient/a")
	if err != nil {
		t.Fatal(err)
	}
	r := audit.VerifyEvidence(data, audit.Options{})
	if !r.OK || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "numbers 1 to 2 are not shown") }) {
		t.Errorf("after the erasure: %+v", r)
	}
}

// from is a log that shows a patient's entries from some index on.
type from struct {
	*chain.Log
	index uint64
}

func (f from) ByPatient(patient string) []uint64 {
	return slices.DeleteFunc(f.Log.ByPatient(patient), func(i uint64) bool { return i < f.index })
}

// An erasure is on the log, and the entries before it are left out of what is
// shown as the whole.
func TestAnErasureDoesNotHideWhatWasBefore(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	l := s.Open(t, chaintest.NewStore())
	a := chaintest.Entry("Patient/a")
	chaintest.Append(t, l, a, a, a, chain.Entry{Kind: chain.Erase, Patient: "Patient/a"}, a, a)
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for index, wanted := range map[uint64]string{
		1: "",                             // everything, and nothing to say
		2: audit.CodeSequence,             // in the middle of a key's entries
		5: "numbers 1 to 4 are not shown", // the first after the erasure
		6: audit.CodeSequence,             // and the second
	} {
		data, err := audit.PatientEvidence(t.Context(), from{l, index}, "Patient/a")
		if err != nil {
			t.Fatal(err)
		}
		r := audit.VerifyEvidence(data, audit.Options{})
		named := slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "are not shown") && strings.Contains(n, wanted) })
		switch {
		case wanted == audit.CodeSequence:
			if r.OK || !slices.Contains(codes(r), wanted) {
				t.Errorf("from entry %d: %+v", index, r)
			}
		case !r.OK || named != (index == 5):
			t.Errorf("from entry %d: %+v", index, r)
		}
		if index == 5 && !strings.Contains(strings.Join(r.Proved, " "), "from number 5 on") {
			t.Errorf("from entry %d it proves %q", index, r.Proved)
		}
	}
}

func TestEvidenceFromALogDirectoryBesideItsWriter(t *testing.T) {
	s, dir := chaintest.NewSetup(t, "log", 1), t.TempDir()
	l := s.Open(t, openDisk(t, dir))
	chaintest.Fill(t, l, 300)
	s.Cosign(t, l, 1)
	store, err := disk.Open(disk.Config{Dir: dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	reader, err := chain.OpenReader(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	data, err := audit.PatientEvidence(t.Context(), reader, "Patient/p-4")
	if err != nil {
		t.Fatal(err)
	}
	if r := audit.VerifyEvidence(data, audit.Options{LogKey: s.Key, Witnesses: s.Vkeys, Seen: [][]byte{l.Published()}}); !r.OK {
		t.Errorf("%+v", r.Findings)
	}
}

// golden is evidence made by an earlier build; see TestFormatsStay.
func golden(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "evidence.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// With the same keys, clock and randomness a log is the same to the last byte:
// leaf, body, ciphertext, segment, key file, checkpoint, cosignature and
// evidence have not changed. WARDKEY_UPDATE=1 writes them anew.
func TestFormatsStay(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	s := chaintest.NewSetup(t, "golden", 2)
	s.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	dir := t.TempDir()
	store := openDisk(t, dir)
	l := s.Open(t, store)
	chaintest.Fill(t, l, 300)
	s.Cosign(t, l, 2)
	evidence, err := audit.PatientEvidence(t.Context(), l, "Patient/p-1")
	if err != nil {
		t.Fatal(err)
	}
	evidence = bytes.Clone(evidence)
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	sums := ""
	contents := files(t, dir)
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		sums += fmt.Sprintf("%x  %s\n", sha256.Sum256(contents[name]), name)
	}
	if os.Getenv("WARDKEY_UPDATE") != "" {
		err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile("testdata/evidence.cbor", evidence, 0o644), os.WriteFile("testdata/files.sha256", []byte(sums), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/files.sha256")
	if err != nil || sums != string(want) {
		t.Errorf("the files of a log are now\n%s%v", sums, err)
	}
	if !bytes.Equal(evidence, golden(t)) {
		t.Error("evidence is written otherwise")
	}
	if r := audit.VerifyEvidence(golden(t), audit.Options{LogKey: s.Key, Witnesses: s.Vkeys}); !r.OK {
		t.Errorf("%+v", r.Findings)
	}
}

func FuzzEvidence(f *testing.F) {
	genuine := golden(f)
	f.Add(genuine)
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := audit.VerifyEvidence(data, audit.Options{})
		if r.OK && !bytes.Equal(data, genuine) {
			t.Errorf("%x was proven", data)
		}
		if r.OK != (len(r.Findings) == 0) {
			t.Error("verdict and findings contradict each other")
		}
	})
}
