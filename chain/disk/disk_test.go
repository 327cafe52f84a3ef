package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/disk"
)

func TestALogOnDiskIsThereAgain(t *testing.T) {
	s, dir := chaintest.NewSetup(t, "log", 0), t.TempDir()
	store := open(t, disk.Config{Dir: dir, SegmentBytes: 10_000})
	l := s.Open(t, store)
	chaintest.Fill(t, l, 600)
	size, root, checkpoint := l.Size(), l.Root(), l.Checkpoint()
	indexes := l.ByPatient("Patient/p-3")
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	segments, err := disk.SegmentNames(disk.OS(dir))
	if err != nil || len(segments) < 10 {
		t.Errorf("%d segments, %v", len(segments), err)
	}
	l = s.Open(t, open(t, disk.Config{Dir: dir, SegmentBytes: 10_000}))
	if l.Size() != size || l.Root() != root || string(l.Checkpoint()) != string(checkpoint) || !slices.Equal(l.ByPatient("Patient/p-3"), indexes) {
		t.Errorf("%d entries of %d", l.Size(), size)
	}
	for index := range l.Size() {
		if b, err := l.Body(t.Context(), index); err != nil || index > 0 && b.Kind != chain.Access {
			t.Fatalf("entry %d: %v", index, err)
		}
	}
	chaintest.Fill(t, l, 20)
}

func TestABatchIsOneWriteAndOneSync(t *testing.T) {
	s, files := chaintest.NewSetup(t, "log", 0), newMemory()
	store, err := disk.Open(disk.Config{Dir: "log", Files: files})
	if err != nil {
		t.Fatal(err)
	}
	l := s.Open(t, store)
	many := slices.Repeat([]chain.Entry{chaintest.Entry("Patient/a")}, 100)
	chaintest.Append(t, l, many...)
	before := len(files.trace)
	chaintest.Append(t, l, many...)
	segment := disk.SegmentName(0)
	if got := files.trace[before:]; !slices.Equal(got, []string{"write " + segment, "sync " + segment}) {
		t.Errorf("%q", got)
	}
}

func TestAnyEntryIsFoundInALongSegment(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	memory := newMemory()
	store, err := disk.Open(disk.Config{Dir: "log", Files: memory})
	if err != nil {
		t.Fatal(err)
	}
	l := s.Open(t, store)
	chaintest.Fill(t, l, 3000)
	for index := uint64(0); index < l.Size(); index += 41 {
		for b, err := range store.Batches(t.Context(), index) {
			if err != nil || b.First > index || b.End() <= index {
				t.Fatalf("entry %d is looked for in %d to %d: %v", index, b.First, b.End(), err)
			}
			break
		}
	}
}

func TestThereIsOneWriter(t *testing.T) {
	dir := t.TempDir()
	first := open(t, disk.Config{Dir: dir})
	if _, err := disk.Open(disk.Config{Dir: dir}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
	if !disk.Locked(dir) {
		t.Error("not locked")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if disk.Locked(dir) {
		t.Error("still locked")
	}
	open(t, disk.Config{Dir: dir})
}

func TestReadingBesideALiveWriter(t *testing.T) {
	s, dir := chaintest.NewSetup(t, "log", 0), t.TempDir()
	l := s.Open(t, open(t, disk.Config{Dir: dir, SegmentBytes: 5000}))
	chaintest.Fill(t, l, 300)
	for range 5 {
		chaintest.Fill(t, l, 30)
		beside := open(t, disk.Config{Dir: dir, ReadOnly: true})
		r, err := chain.OpenReader(t.Context(), beside)
		if err != nil {
			t.Fatal(err)
		}
		if r.Size() != l.Size() || r.Root() != l.Root() {
			t.Errorf("%d entries of %d", r.Size(), l.Size())
		}
		if err := beside.Append(t.Context(), chain.Batch{First: r.Size()}); !errors.Is(err, disk.ErrReadOnly) {
			t.Errorf("Append() = %v", err)
		}
		if _, err := r.Proof(t.Context(), 3, r.Size()); err != nil {
			t.Error(err)
		}
	}
}

// logDir makes a log on disk and returns its directory and the segments' names.
func logDir(t *testing.T, s *chaintest.Setup, segmentBytes int64, fill func(l *chain.Log)) (string, []string) {
	t.Helper()
	dir := t.TempDir()
	store := open(t, disk.Config{Dir: dir, SegmentBytes: segmentBytes})
	l := s.Open(t, store)
	fill(l)
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	segments, err := disk.SegmentNames(disk.OS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return dir, segments
}

func rewrite(t *testing.T, name string, edit func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, edit(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The last batch is cut at every byte, as a kill or a loss of power may leave
// it. Nothing was published of it, so the log goes on without it.
func TestATornTailIsCutAtTheLastWholeBatch(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	dir := t.TempDir()
	store := open(t, disk.Config{Dir: dir})
	l := s.Open(t, store)
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, filepath.FromSlash(disk.SegmentName(0)))
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	chaintest.Append(t, l, chaintest.Entry("Patient/a"), chaintest.Entry("Patient/b"))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := os.ReadFile(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	published, err := store.Published(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	files := newMemory()
	put := func(name string, data []byte) { files.names[name] = &node{data: data, synced: data} }
	for end := int(before.Size()); end <= len(whole); end++ {
		info, err := os.ReadFile(filepath.Join(dir, "log.json"))
		if err != nil {
			t.Fatal(err)
		}
		files = newMemory()
		put("log.json", info)
		put("keys", slices.Clone(keys))
		put("checkpoint", published)
		put(disk.SegmentName(0), slices.Clone(whole[:end]))
		store, err := disk.Open(disk.Config{Dir: "log", Files: files})
		if err != nil {
			t.Fatalf("cut at %d: %v", end, err)
		}
		l, err := chain.Open(t.Context(), s.Config(store))
		if err != nil {
			t.Fatalf("cut at %d: %v", end, err)
		}
		want := uint64(2)
		if end == len(whole) {
			want = 4
		}
		if l.Size() != want {
			t.Fatalf("cut at %d: %d entries", end, l.Size())
		}
		if end%100 == 0 {
			chaintest.Append(t, l, chaintest.Entry("Patient/b"))
		}
		if err := errors.Join(l.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageIsRefusedWithItsPlace(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	for name, edit := range map[string]func(t *testing.T, dir string, segments []string){
		"a byte in the middle of the last segment": func(t *testing.T, dir string, segments []string) {
			rewrite(t, filepath.Join(dir, segments[len(segments)-1]), func(b []byte) []byte { b[300] ^= 1; return b })
		},
		"the frame header in an old segment": func(t *testing.T, dir string, segments []string) {
			rewrite(t, filepath.Join(dir, segments[1]), func(b []byte) []byte { b[70] ^= 1; return b })
		},
		"a payload in an old segment": func(t *testing.T, dir string, segments []string) {
			rewrite(t, filepath.Join(dir, segments[1]), func(b []byte) []byte { b[200] ^= 1; return b })
		},
		"a segment header": func(t *testing.T, dir string, segments []string) {
			rewrite(t, filepath.Join(dir, segments[1]), func(b []byte) []byte { b[20] ^= 1; return b })
		},
		"the end of an old segment": func(t *testing.T, dir string, segments []string) {
			rewrite(t, filepath.Join(dir, segments[1]), func(b []byte) []byte { return b[:len(b)-5] })
		},
		"a segment gone": func(t *testing.T, dir string, segments []string) {
			if err := os.Remove(filepath.Join(dir, segments[1])); err != nil {
				t.Fatal(err)
			}
		},
		"the last segment gone": func(t *testing.T, dir string, segments []string) {
			if err := os.Remove(filepath.Join(dir, segments[len(segments)-1])); err != nil {
				t.Fatal(err)
			}
		},
		"a segment renamed": func(t *testing.T, dir string, segments []string) {
			if err := os.Rename(filepath.Join(dir, segments[1]), filepath.Join(dir, "segments", "00000000000000099999.seg")); err != nil {
				t.Fatal(err)
			}
		},
		"a foreign file among the segments": func(t *testing.T, dir string, segments []string) {
			if err := os.WriteFile(filepath.Join(dir, "segments", "notes.txt"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a key": func(t *testing.T, dir string, _ []string) {
			rewrite(t, filepath.Join(dir, "keys"), func(b []byte) []byte { b[256+30] ^= 1; return b })
		},
		"the last key, which is in use": func(t *testing.T, dir string, _ []string) {
			rewrite(t, filepath.Join(dir, "keys"), func(b []byte) []byte { b[len(b)-230] ^= 1; return b })
		},
		"the key file gone": func(t *testing.T, dir string, _ []string) {
			if err := os.Remove(filepath.Join(dir, "keys")); err != nil {
				t.Fatal(err)
			}
		},
		"log.json": func(t *testing.T, dir string, _ []string) {
			rewrite(t, filepath.Join(dir, "log.json"), func(b []byte) []byte { b[20] ^= 1; return b })
		},
		"the published checkpoint": func(t *testing.T, dir string, _ []string) {
			rewrite(t, filepath.Join(dir, "checkpoint"), func(b []byte) []byte { b[30] ^= 1; return b })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, segments := logDir(t, s, 3000, func(l *chain.Log) { chaintest.Fill(t, l, 60) })
			edit(t, dir, segments)
			store, err := disk.Open(disk.Config{Dir: dir, SegmentBytes: 3000})
			if err == nil {
				defer store.Close()
				var l *chain.Log
				if l, err = chain.Open(t.Context(), s.Config(store)); err == nil {
					_ = l.Close()
					t.Fatal("opened")
				}
			}
			t.Log(err)
		})
	}
}

func TestTilesAreMadeAgain(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	dir, _ := logDir(t, s, 0, func(l *chain.Log) { chaintest.Fill(t, l, 800) })
	wrong, missing := filepath.Join(dir, "tile/0/001"), filepath.Join(dir, "tile/entries/002")
	good, err := os.ReadFile(wrong)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, wrong, func([]byte) []byte { return nil }) // as after a loss of power
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	l := s.Open(t, open(t, disk.Config{Dir: dir}))
	if got, err := os.ReadFile(wrong); err != nil || string(got) != string(good) {
		t.Errorf("tile of %d bytes, %v", len(got), err)
	}
	if _, err := os.Stat(missing); err != nil {
		t.Error(err)
	}
	if _, err := l.Proof(t.Context(), 300, 700); err != nil {
		t.Error(err)
	}
}

func TestAnErasedKeyIsNowhereInTheDirectory(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	var secret [32]byte
	dir, _ := logDir(t, s, 0, func(l *chain.Log) {
		chaintest.Append(t, l, chaintest.Entry("Patient/forgotten"), chaintest.Entry("Patient/b"))
		secret = l.Keys(1)[0].Key.Reveal()
		chaintest.Append(t, l, chain.Entry{Kind: chain.Erase, Patient: "Patient/forgotten"}, chaintest.Entry("Patient/forgotten"))
		if err := l.Erase(t.Context(), "Patient/forgotten"); err != nil {
			t.Fatal(err)
		}
	})
	named := 0 // the key that the patient has been given since says whose it is
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if strings.Contains(string(data), string(secret[:])) {
			t.Errorf("found in %s", name)
		}
		named += strings.Count(string(data), "forgotten")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if named != 1 {
		t.Errorf("the patient is named %d times, want once", named)
	}
}

func TestNobodyElseReadsTheDirectory(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 0)
	dir := filepath.Join(t.TempDir(), "new", "log")
	chaintest.Fill(t, s.Open(t, open(t, disk.Config{Dir: dir})), 300)
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTilePathsAreThoseOfTlogTiles(t *testing.T) {
	for want, tc := range map[string]struct {
		level int
		index uint64
	}{
		"tile/0/000":                 {0, 0},
		"tile/entries/067":           {chain.BundleLevel, 67},
		"tile/1/x001/234":            {1, 1234},
		"tile/3/x001/x234/067":       {3, 1234067},
		"tile/entries/x001/x000/000": {chain.BundleLevel, 1000000},
		"tile/0/x123/x456/x789/012":  {0, 123456789012},
	} {
		if got := disk.TilePath(tc.level, tc.index); got != want {
			t.Errorf("TilePath(%d, %d) = %s, want %s", tc.level, tc.index, got, want)
		}
	}
}

func FuzzSegment(f *testing.F) {
	s := chaintest.NewSetup(f, "log", 0)
	files := newMemory()
	store, err := disk.Open(disk.Config{Dir: "log", Files: files})
	if err != nil {
		f.Fatal(err)
	}
	l := s.Open(f, store)
	chaintest.Fill(f, l, 9)
	whole := files.names[disk.SegmentName(0)].data
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := newMemory()
		files.names["seg"] = &node{data: data}
		file, err := files.Open("seg", disk.ForReading)
		if err != nil {
			t.Fatal(err)
		}
		last := int64(64)
		_, end, err := disk.ReadSegment(file, "seg", int64(len(data)), func(offset int64, b chain.Batch) error {
			if offset != last || len(b.Records) == 0 {
				t.Errorf("batch of %d records at %d, after %d", len(b.Records), offset, last)
			}
			n := int64(28 + 4 + len(b.Checkpoint))
			for _, r := range b.Records {
				n += 53 + int64(len(r.Body))
			}
			last = offset + n
			return nil
		})
		if err == nil && (end != int64(len(data)) || last != end) {
			t.Errorf("%d bytes of %d read", end, len(data))
		}
		if damage, ok := errors.AsType[*disk.DamageError](err); err != nil && (!ok || damage.Offset > int64(len(data))) {
			t.Error(err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	files := newMemory()
	store, err := disk.Open(disk.Config{Dir: "log", Files: files})
	if err != nil {
		f.Fatal(err)
	}
	keys := []chain.LogKey{chain.NewLogKey(""), chain.NewLogKey("Patient/a")}
	if err := errors.Join(store.AppendKeys(f.Context(), keys), store.EraseKey(f.Context(), keys[1].ID)); err != nil {
		f.Fatal(err)
	}
	f.Add(files.names["keys"].data)
	f.Add([]byte("wardkey-keys-v1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := disk.ReadKeys(data)
		if err == nil && len(data) != 256*(len(keys)+1) {
			t.Errorf("%d keys of %d bytes", len(keys), len(data))
		}
		for _, k := range keys {
			if k.Erased() && k.Patient != "" {
				t.Error("an erased key has a patient")
			}
		}
		_ = fmt.Sprint(keys)
	})
}
