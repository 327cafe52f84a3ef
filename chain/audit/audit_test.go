package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/disk"
)

func openDisk(t testing.TB, dir string) *disk.Store {
	t.Helper()
	store, err := disk.Open(disk.Config{Dir: dir, SegmentBytes: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// logDir makes a log on disk, cosigned by its custodians, and closes it.
func logDir(t testing.TB, s *chaintest.Setup, fill func(l *chain.Log)) string {
	t.Helper()
	dir := t.TempDir()
	store := openDisk(t, dir)
	l := s.Open(t, store)
	fill(l)
	s.Cosign(t, l, len(s.Cosigners))
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func verify(t testing.TB, dir string, o audit.Options) audit.Report {
	t.Helper()
	r, err := audit.Verify(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func codes(r audit.Report) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Code)
	}
	return out
}

func TestAGoodLogIsProven(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 3)
	var seen []byte
	dir := logDir(t, s, func(l *chain.Log) {
		chaintest.Fill(t, l, 100)
		seen = l.Checkpoint()
		chaintest.Fill(t, l, 700)
		chaintest.Append(t, l, chain.Entry{Kind: chain.Erase, Patient: "Patient/p-2"}, chaintest.Entry("Patient/p-2"))
		if err := l.Erase(t.Context(), "Patient/p-2"); err != nil {
			t.Fatal(err)
		}
		chaintest.Fill(t, l, 50)
	})
	r := verify(t, dir, audit.Options{LogKey: s.Key, Witnesses: s.Vkeys[:2], Seen: [][]byte{seen}})
	if !r.OK || len(r.Proved) < 7 {
		t.Fatalf("%+v", r)
	}
	if !strings.Contains(strings.Join(r.Notes, " "), "begins under an erased key") {
		t.Errorf("of the erasure it notes %q", r.Notes)
	}
	var text bytes.Buffer
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PROVEN", "erased", "completeness is not proven", "3 cosigners", "seen elsewhere", "tiles"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, text.String())
		}
	}
	data, err := json.Marshal(r)
	if err != nil || !bytes.HasPrefix(data, []byte(`{"ok":true,"proved":["`)) || !bytes.Contains(data, []byte(`"findings":[]`)) {
		t.Errorf("%s, %v", data, err)
	}
}

func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		out[filepath.ToSlash(rel)], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// view is a copy of a directory with one file replaced.
type view struct {
	disk.Files
	name string
	data []byte
}

func (v view) Open(name string, how disk.OpenMode) (disk.File, error) {
	if name == v.name {
		return content{bytes.NewReader(v.data)}, nil
	}
	return v.Files.Open(name, how)
}

type content struct{ *bytes.Reader }

func (c content) Size() (int64, error)             { return c.Reader.Size(), nil }
func (content) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (content) Truncate(int64) error               { return errors.ErrUnsupported }
func (content) Sync() error                        { return errors.ErrUnsupported }
func (content) Close() error                       { return nil }

// inParallel calls f for 0 … n-1 from a few goroutines.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < n; i += 4 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// Each byte of each file of a small log, tiles included, is changed in turn.
func TestEveryFlippedByteIsFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	dir := logDir(t, s, func(l *chain.Log) {
		chaintest.Append(t, l, chaintest.Entry("Patient/a"), chaintest.Entry("Patient/b"))
		chaintest.Append(t, l, chain.Entry{Kind: chain.Erase, Patient: "Patient/b"}, chaintest.Entry("Patient/b"))
		if err := l.Erase(t.Context(), "Patient/b"); err != nil {
			t.Fatal(err)
		}
		chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	})
	total := 0
	for name, data := range files(t, dir) {
		total += len(data)
		inParallel(len(data), func(i int) {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << (i % 8)
			r, err := audit.VerifyFiles(context.Background(), view{disk.OS(dir), name, flipped}, nil, audit.Options{})
			if err != nil || r.OK {
				t.Errorf("byte %d of %s: %v", i, name, err)
			}
		})
	}
	t.Logf("%d bytes", total)
}

func TestRandomFlippedBytesOfALargerLogAreFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	dir := logDir(t, s, func(l *chain.Log) { chaintest.Fill(t, l, 600) })
	for name, data := range files(t, dir) {
		if name == "lock" {
			continue
		}
		places := make([]int, 8)
		for i := range places {
			places[i] = rand.IntN(len(data))
		}
		inParallel(len(places), func(i int) {
			flipped := bytes.Clone(data)
			flipped[places[i]] ^= byte(1 + rand.IntN(255))
			r, err := audit.VerifyFiles(context.Background(), view{disk.OS(dir), name, flipped}, nil, audit.Options{})
			if err != nil || r.OK {
				t.Errorf("byte %d of %s: %v", places[i], name, err)
			}
		})
	}
}

func TestWhatWasCutOrAddedIsFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	dir := logDir(t, s, func(l *chain.Log) { chaintest.Fill(t, l, 300) })
	for name, data := range files(t, dir) {
		for what, changed := range map[string][]byte{
			"a byte more":  append(bytes.Clone(data), 0),
			"a line more":  append(bytes.Clone(data), '\n'),
			"doubled":      append(bytes.Clone(data), data...),
			"a byte less":  data[:max(len(data)-1, 0)],
			"half":         data[:len(data)/2],
			"nothing left": nil,
		} {
			if bytes.Equal(changed, data) {
				continue // the lock file is empty
			}
			r, err := audit.VerifyFiles(t.Context(), view{disk.OS(dir), name, changed}, nil, audit.Options{})
			if err != nil || r.OK {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestForeignAndMissingFilesAreFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	dir := logDir(t, s, func(l *chain.Log) { chaintest.Fill(t, l, 700) })
	for _, name := range []string{"notes.txt", "log.json.tmp", "segments/readme", "segments/00000000000000000999.seg", "tile/0/x", "tile/0/009", "tile/7/000", "tile/entries/003.p/5", "tile/x/000", "more/file"} {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := verify(t, dir, audit.Options{}); r.OK {
			t.Errorf("%s was not found", name)
		}
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Dir(full)) // where it is empty
	}
	if r := verify(t, dir, audit.Options{}); !r.OK {
		t.Fatalf("%+v", r.Findings)
	}
	for name := range files(t, dir) {
		if name == "lock" {
			continue
		}
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.Rename(full, full+".away"); err != nil {
			t.Fatal(err)
		}
		moved := filepath.Join(t.TempDir(), "away")
		if err := os.Rename(full+".away", moved); err != nil {
			t.Fatal(err)
		}
		if r := verify(t, dir, audit.Options{}); r.OK {
			t.Errorf("%s is missing, and it was not found", name)
		}
		if err := os.Rename(moved, full); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruncatedAtEveryByteIsFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	dir := logDir(t, s, func(l *chain.Log) { chaintest.Fill(t, l, 4) })
	name := disk.SegmentName(0)
	data := files(t, dir)[name]
	inParallel(len(data), func(i int) {
		r, err := audit.VerifyFiles(context.Background(), view{disk.OS(dir), name, data[:i]}, nil, audit.Options{})
		if err != nil || r.OK {
			t.Errorf("cut at byte %d: %v", i, err)
		}
	})
}

// rebuild stores batches as somebody would who can write the files, and knows
// all keys but the log's.
func rebuild(t *testing.T, dir string, edit func(batches []chain.Batch, keys []chain.LogKey) ([]chain.Batch, []chain.LogKey)) string {
	t.Helper()
	store := openDisk(t, dir)
	var batches []chain.Batch
	for b, err := range store.Batches(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	keys, err := store.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := store.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	published, err := store.Published(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batches, keys = edit(batches, keys)
	out := t.TempDir()
	forged := openDisk(t, out)
	err = errors.Join(forged.SetInfo(t.Context(), info), forged.AppendKeys(t.Context(), keys), forged.SetPublished(t.Context(), published))
	for _, b := range batches {
		b.First = forged.Size()
		err = errors.Join(err, forged.Append(t.Context(), b))
	}
	if err = errors.Join(err, forged.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAForgedLogIsFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	dir := logDir(t, s, func(l *chain.Log) { chaintest.Fill(t, l, 60) })
	type edit = func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey)
	untouched := rebuild(t, dir, func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) { return b, k })
	if r := verify(t, untouched, audit.Options{}); !r.OK {
		t.Fatalf("the test itself: %+v", r.Findings)
	}
	for name, tc := range map[string]struct {
		edit edit
		code string
	}{
		"the end cut": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) { return b[:len(b)-1], k }, audit.CodePublished},
		"reordered batches": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			b[3], b[4] = b[4], b[3]
			return b, k
		}, audit.CodeRoot},
		"reordered within a batch": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			n := len(b) - 2
			b[n].Records[0], b[n].Records[1] = b[n].Records[1], b[n].Records[0]
			return b, k
		}, audit.CodeRoot},
		"a batch removed": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			return slices.Delete(b, 3, 4), k
		}, audit.CodeRoot},
		"a batch replayed": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) { return append(b, b[5]), k }, audit.CodeRoot},
		"an entry replayed in another's place": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			b[5].Records[0] = b[4].Records[0]
			return b, k
		}, audit.CodeBody},
		"a body replaced": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			body := &chain.Body{Salt: make([]byte, 32), Time: 1, Seq: 2, Entry: chaintest.Entry("")}
			record, err := k[0].Seal(b[5].First, body)
			if err != nil {
				t.Fatal(err)
			}
			record.Leaf = b[5].Records[0].Leaf
			b[5].Records[0] = record
			return b, k
		}, audit.CodeBody},
		"encrypted again under a key of its own": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			fresh := chain.NewLogKey(k[1].Patient)
			for i := range b {
				for j, r := range b[i].Records {
					if r.Key == k[1].ID {
						body, _, err := k[1].Unseal(b[i].First+uint64(j), r)
						if err != nil {
							t.Fatal(err)
						}
						if b[i].Records[j], err = fresh.Seal(b[i].First+uint64(j), body); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			k[1] = fresh
			return b, k
		}, audit.CodeKeys},
		"a key missing": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) { return b, k[:len(k)-1] }, audit.CodeBody},
		"a key twice":   {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) { return b, append(k, k[1]) }, audit.CodeKeys},
		"a checkpoint without its signature": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			b[5].Checkpoint = bytes.Replace(b[5].Checkpoint, []byte("— "+chaintest.Origin), []byte("— "+strings.ToUpper(chaintest.Origin)), 1)
			return b, k
		}, audit.CodeSignature},
		"two batches made one": {func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
			b[4].Records = append(b[4].Records, b[5].Records...)
			return slices.Delete(b, 5, 6), k
		}, audit.CodeRoot},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t, rebuild(t, dir, tc.edit), audit.Options{})
			if !slices.Contains(codes(r), tc.code) {
				t.Errorf("want %s in %+v", tc.code, r.Findings)
			}
		})
	}
}

func rootOf(t *testing.T, leaves []chain.Leaf) [32]byte {
	t.Helper()
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, leaf := range leaves {
		hash := leaf.Hash()
		if err := tree.Append(hash[:], nil); err != nil {
			t.Fatal(err)
		}
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(root)
}

// A sequencer that would have a patient's entries forgotten ends their key, and
// numbers those under the next one from the beginning.
func TestNumbersThatBeginAgainUnderAnotherKeyAreFound(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	dir := logDir(t, s, func(l *chain.Log) { chaintest.Fill(t, l, 12) })
	for name, tc := range map[string]struct {
		edit func(last, first *chain.Body) // the erase entry, and the one after it
		code string
	}{
		"as it should be":     {func(_, _ *chain.Body) {}, ""},
		"from the beginning":  {func(_, first *chain.Body) { first.Seq, first.Prev = 1, 0 }, audit.CodeSequence},
		"from somewhere else": {func(_, first *chain.Body) { first.Prev-- }, audit.CodeSequence},
		"with no erasure":     {func(last, _ *chain.Body) { last.Kind = chain.Admin }, audit.CodeSequence},
		"with no commitment":  {func(_, first *chain.Body) { first.Key = nil }, audit.CodeKeys},
	} {
		t.Run(name, func(t *testing.T) {
			r := verify(t, rebuild(t, dir, func(b []chain.Batch, k []chain.LogKey) ([]chain.Batch, []chain.LogKey) {
				var leaves []chain.Leaf
				var newest *chain.Body
				var under chain.LogKey
				var at uint64
				for _, batch := range b {
					for _, record := range batch.Records {
						key := k[slices.IndexFunc(k, func(k chain.LogKey) bool { return k.ID == record.Key })]
						if key.Patient == "Patient/p-1" {
							body, _, err := key.Unseal(uint64(len(leaves)), record)
							if err != nil {
								t.Fatal(err)
							}
							newest, under, at = body, key, uint64(len(leaves))
						}
						leaves = append(leaves, record.Leaf)
					}
				}
				size, next := uint64(len(leaves)), chain.NewLogKey("Patient/p-1")
				commitment, now := next.Commitment(), time.Now().UnixMilli()
				last := &chain.Body{Salt: make([]byte, 32), Time: now, Seq: newest.Seq + 1, Prev: at, Entry: chain.Entry{Kind: chain.Erase, Patient: under.Patient}}
				first := &chain.Body{Salt: make([]byte, 32), Time: now, Seq: newest.Seq + 2, Prev: size, Key: commitment[:], Entry: chaintest.Entry(under.Patient)}
				tc.edit(last, first)
				batch := chain.Batch{First: size, Records: make([]chain.Record, 2)}
				var errs [3]error
				batch.Records[0], errs[0] = under.Seal(size, last)
				batch.Records[1], errs[1] = next.Seal(size+1, first)
				leaves = append(leaves, batch.Records[0].Leaf, batch.Records[1].Leaf)
				batch.Checkpoint, errs[2] = chain.Checkpoint{Origin: chaintest.Origin, Size: size + 2, Root: rootOf(t, leaves)}.Sign(s.Signer)
				if err := errors.Join(errs[:]...); err != nil {
					t.Fatal(err)
				}
				return append(b, batch), append(k, next)
			}), audit.Options{})
			if found := codes(r); tc.code == "" && !r.OK || tc.code != "" && !slices.Contains(found, tc.code) {
				t.Errorf("want %q in %+v", tc.code, r.Findings)
			}
		})
	}
}

// A sequencer that signs two histories deceives one directory, and no auditor
// who has a checkpoint of the other.
func TestAForkAndARollbackAreFoundByACheckpointSeenElsewhere(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	dir := t.TempDir()
	store := openDisk(t, dir)
	l := s.Open(t, store)
	chaintest.Fill(t, l, 20)
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	ends := make([][]byte, 2)
	for i, d := range []string{dir, copied} {
		store := openDisk(t, d)
		l := s.Open(t, store)
		chaintest.Fill(t, l, 10+i)
		ends[i] = l.Checkpoint()
		if err := errors.Join(l.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, dir, audit.Options{Seen: ends[:1]}); !r.OK {
		t.Errorf("its own checkpoint: %+v", r.Findings)
	}
	if r := verify(t, copied, audit.Options{Seen: ends[:1]}); !slices.Contains(codes(r), audit.CodeFork) {
		t.Errorf("fork: %+v", r.Findings)
	}
	if r := verify(t, dir, audit.Options{Seen: ends[1:]}); !slices.Contains(codes(r), audit.CodeRollback) {
		t.Errorf("rollback: %+v", r.Findings)
	}
	stranger := chaintest.NewSetup(t, "stranger", 1)
	for name, o := range map[string]audit.Options{
		"another log's key":        {LogKey: stranger.Key},
		"another witness":          {Witnesses: stranger.Vkeys},
		"a witness without a vkey": {Witnesses: []string{"nobody"}},
		"a witness that is absent": {Witnesses: s.Vkeys}, // nobody has cosigned here
		"a checkpoint of nobody's": {Seen: [][]byte{[]byte("x")}},
	} {
		if r := verify(t, dir, o); !slices.Contains(codes(r), audit.CodePinned) {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
}

func TestALogIsVerifiedBesideItsLiveWriter(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	dir := t.TempDir()
	l := s.Open(t, openDisk(t, dir))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := l.Append(context.Background(), chaintest.Entry(fmt.Sprintf("Patient/%d", i%40)), chaintest.Entry("")); err != nil {
				t.Error(err)
			}
			if i%10 == 0 {
				if err := l.Publish(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 15 {
		if r := verify(t, dir, audit.Options{LogKey: s.Key}); !r.OK {
			t.Errorf("%+v", r.Findings)
		}
	}
	close(stop)
	wg.Wait()

	// A torn tail is a finding once nobody writes any more.
	name := disk.SegmentName(0)
	data := files(t, dir)[name]
	if r, err := audit.VerifyFiles(t.Context(), view{disk.OS(dir), name, data[:len(data)-1]}, nil, audit.Options{}); err != nil || r.OK {
		t.Errorf("torn tail: %v", err)
	}
}

func TestACustodiansDirectoryIsVerifiedLikewise(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 1)
	l, dir := s.Open(t, chaintest.NewStore()), t.TempDir()
	store := openDisk(t, dir)
	r := s.Replica(t, store)
	for range 5 {
		chaintest.Fill(t, l, 120)
		chaintest.Follow(t, l, r)
	}
	if err := errors.Join(r.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	if report := verify(t, dir, audit.Options{LogKey: s.Key, Seen: [][]byte{l.Published()}}); !report.OK {
		t.Errorf("%+v", report.Findings)
	}
}

func TestWhatIsNoLogIsAnError(t *testing.T) {
	if _, err := audit.Verify(t.Context(), filepath.Join(t.TempDir(), "nowhere"), audit.Options{}); err == nil {
		t.Error("no directory")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, audit.Options{}); r.OK {
		t.Error("a directory without a log")
	}
}
