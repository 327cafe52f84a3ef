// Package disk keeps a log in a directory.
//
// The directory holds
//
//	log.json         whose log it is: origin and verifier keys, canonical JSON
//	segments/N.seg   records and checkpoints, in batches; N is the first index
//	keys             log keys, in records of one size that are erased in place
//	checkpoint       the published checkpoint with its cosignatures
//	tile/…           full tiles and entry bundles, laid out as in tlog-tiles
//	lock             empty; locked by the one process that writes
//
// Segments and keys are the truth. A batch is one write and one fdatasync; its
// frame carries lengths and CRC-32C, so that one that was not finished shows and
// is cut off at the next start. Tiles are derived from the segments and are
// neither synced nor trusted: whoever loads the log compares them.
//
// Begin with [Open]. Package audit judges a directory without it, by
// [ReadSegment] and [ReadKeys].
//
// What it leaves to others: the content of records, which package chain checks
// as it loads; and encryption of the key file at rest, which holds the log keys
// in the clear and belongs on a volume that is itself encrypted.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"strings"
	"sync"

	"github.com/wardkey/wardkey/chain"
)

// ErrLocked is returned when another process writes the directory.
var ErrLocked = errors.New("log directory is in use")

// ErrRefusing is returned by writes after one that failed in a way that cannot
// be undone with certainty: the directory has to be opened again.
var ErrRefusing = errors.New("log directory must be opened again")

// ErrReadOnly is returned by writes to a directory opened for reading.
var ErrReadOnly = errors.New("log directory was opened for reading")

// DamageError says where a file is not what it should be.
type DamageError struct {
	File   string // within the directory
	Offset int64
	Reason string
	Torn   bool // it looks like the end of a write that was interrupted
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: damaged at byte %d: %s", e.File, e.Offset, e.Reason)
}

// Names of the files within a directory.
const (
	infoFile       = "log.json"
	keysFile       = "keys"
	checkpointFile = "checkpoint"
	lockFile       = "lock"
	segmentsDir    = "segments"
	segmentSuffix  = ".seg"
	temporary      = ".tmp" // suffix of files that are not yet in place
)

// Config says where a log is kept.
type Config struct {
	Dir          string       // created if absent, mode 0700; required
	ReadOnly     bool         // takes no lock and writes nothing: for looking beside a live writer
	SegmentBytes int64        // a segment that has reached this is closed; 64 MiB if zero
	Files        Files        // operations on files; those of the operating system if nil
	Log          *slog.Logger // discarded if nil
}

// Store implements [chain.Store]. Its methods are safe for concurrent use as far
// as that contract asks.
type Store struct {
	files        Files
	log          *slog.Logger
	readOnly     bool
	segmentBytes int64
	lock         io.Closer

	writing  sync.Mutex      // held by every write but SetPublished; guards what follows
	broken   error           // why writes are refused
	active   File            // the last segment
	torn     bool            // there is something behind the end of the last segment
	keyFile  File            // open from the first write on
	keysTorn bool            // there is something to mend in the keys
	dirs     map[string]bool // those of tiles that are there

	publishing sync.Mutex // held by SetPublished

	mu       sync.RWMutex // guards what follows
	segments []*segment
	size     uint64
	keys     []chain.LogKey
}

// Open opens a log directory and takes its lock, or creates it. It reads the
// frames of every segment and the whole of the last one. What is behind the last
// whole batch stays until [Store.Settle].
func Open(c Config) (*Store, error) {
	if c.Dir == "" {
		return nil, errors.New("open log directory: no directory")
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.SegmentBytes < 0 {
		return nil, errors.New("open log directory: segment size")
	}
	if c.Files == nil {
		c.Files = OS(c.Dir)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{files: c.Files, log: c.Log, readOnly: c.ReadOnly, segmentBytes: c.SegmentBytes, dirs: make(map[string]bool)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open log directory: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Store) open() error {
	if !s.readOnly {
		if err := s.files.MkdirAll(segmentsDir); err != nil {
			return err
		}
		lock, err := s.files.Lock(lockFile)
		if err != nil {
			return err
		}
		s.lock = lock
	}
	// Segments before keys: a live writer makes keys durable before their use, so
	// the keys read later cover the records read earlier.
	if err := s.openSegments(); err != nil {
		return err
	}
	return s.openKeys()
}

// Close closes the files and releases the lock.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var errs []error
	if s.active != nil {
		errs = append(errs, s.active.Close())
	}
	if s.keyFile != nil {
		errs = append(errs, s.keyFile.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.active, s.keyFile, s.lock = nil, nil, nil
	s.broken = errors.New("log directory is closed")
	return errors.Join(errs...)
}

// writable reports why nothing may be written. The caller holds writing.
func (s *Store) writable() error {
	if s.readOnly {
		return ErrReadOnly
	}
	return s.broken
}

// fail refuses further writes.
func (s *Store) fail(err error) {
	if s.broken == nil {
		s.broken = fmt.Errorf("%w: %w", ErrRefusing, err)
		s.log.Error("log directory refuses writes", "error", err)
	}
}

// Size is the number of records stored.
func (s *Store) Size() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size
}

// Info implements [chain.Store].
func (s *Store) Info(context.Context) (chain.Info, error) {
	data, err := s.readFile(infoFile)
	if err != nil || data == nil {
		return chain.Info{}, err
	}
	return chain.ParseInfo(data)
}

// SetInfo implements [chain.Store].
func (s *Store) SetInfo(_ context.Context, info chain.Info) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	return s.replace(infoFile, info.Encode(), true)
}

// Published implements [chain.Store].
func (s *Store) Published(context.Context) ([]byte, error) { return s.readFile(checkpointFile) }

// SetPublished implements [chain.Store].
func (s *Store) SetPublished(_ context.Context, checkpoint []byte) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	if s.readOnly {
		return ErrReadOnly
	}
	return s.replace(checkpointFile, checkpoint, true)
}

// SetTile implements [chain.Store]. A tile is put in place whole, but not
// synced: after a loss of power it may be empty, and is made again.
func (s *Store) SetTile(_ context.Context, level int, index uint64, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	name := TilePath(level, index)
	if dir := path.Dir(name); !s.dirs[dir] {
		if err := s.files.MkdirAll(dir); err != nil {
			return err
		}
		s.dirs[dir] = true
	}
	return s.replace(name, data, false)
}

// Tile implements [chain.Store].
func (s *Store) Tile(_ context.Context, level int, index uint64) ([]byte, error) {
	return s.readFile(TilePath(level, index))
}

// TilePath is where a full tile is, or an entry bundle at level -1 (tlog-tiles:
// the index in groups of three digits, all but the last behind an x).
func TilePath(level int, index uint64) string {
	name := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		name = fmt.Sprintf("x%03d/%s", index%1000, name)
	}
	if level == chain.BundleLevel {
		return "tile/entries/" + name
	}
	return fmt.Sprintf("tile/%d/%s", level, name)
}

// maxSmallFile bounds files that are read whole.
const maxSmallFile = 1 << 20

// readFile returns nil for a file that is not there.
func (s *Store) readFile(name string) ([]byte, error) {
	f, err := s.files.Open(name, ForReading)
	if errors.Is(err, ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, maxSmallFile)
}

func readAll(f File, name string, most int64) ([]byte, error) {
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, &DamageError{File: name, Offset: most, Reason: "too long"}
	}
	data := make([]byte, n)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// replace puts a file in place at once: written beside, and renamed.
func (s *Store) replace(name string, data []byte, durable bool) error {
	beside := strings.ReplaceAll(name, "/", "-") + temporary
	f, err := s.files.Open(beside, ForReplacing)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.files.Rename(beside, name)
	}
	if err != nil {
		return errors.Join(err, s.files.Remove(beside))
	}
	if durable {
		return s.files.SyncDir(path.Dir(name))
	}
	return nil
}

// Settle implements [chain.Store]: what an interrupted write left behind is
// removed.
func (s *Store) Settle(context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.readOnly {
		return nil
	}
	if err := s.writable(); err != nil {
		return err
	}
	names, err := s.files.List(".")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, temporary) {
			if err := s.files.Remove(name); err != nil {
				return err
			}
		}
	}
	if err := s.settleSegments(); err != nil {
		return err
	}
	return s.settleKeys()
}
