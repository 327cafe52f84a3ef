package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files is what a [Store] does to files, by names within its directory. There
// are few operations, so that a test can let each of them fail.
type Files interface {
	// Open opens a file. [ErrNoFile] when it is not there, unless it is created.
	Open(name string, how OpenMode) (File, error)
	Rename(from, to string) error
	// Remove is no error when the file is not there.
	Remove(name string) error
	// List returns the names in a directory, those of directories with a slash at
	// the end; none when it is not there.
	List(dir string) ([]string, error)
	// MkdirAll creates a directory and its parents, durably.
	MkdirAll(dir string) error
	// SyncDir makes creations, renames and removals in a directory durable.
	SyncDir(dir string) error
	// Lock excludes other processes until closed; [ErrLocked] when one is there.
	Lock(name string) (io.Closer, error)
}

// OpenMode says what a file is opened for.
type OpenMode int

// Modes of opening.
const (
	ForReading   OpenMode = iota // must be there
	ForWriting                   // reading too; created if absent
	ForReplacing                 // created, or emptied
)

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error // of content and length; not of times
}

// ErrNoFile is returned for a file that is not there.
var ErrNoFile = fs.ErrNotExist

// OS returns the operating system's files below a directory.
func OS(dir string) Files { return osFiles(dir) }

type osFiles string

func (d osFiles) path(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d osFiles) Open(name string, how OpenMode) (File, error) {
	flag := os.O_RDONLY
	switch how {
	case ForWriting:
		flag = os.O_RDWR | os.O_CREATE
	case ForReplacing:
		flag = os.O_RDWR | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(d.path(name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osFiles) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osFiles) Remove(name string) error {
	if err := os.Remove(d.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d osFiles) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(d.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names, nil
}

func (d osFiles) MkdirAll(dir string) error {
	p := d.path(dir)
	if _, err := os.Stat(p); err == nil {
		return nil
	}
	if parent := filepath.Dir(p); parent != p {
		if err := osFiles(parent).MkdirAll("."); err != nil {
			return err
		}
		if err := os.Mkdir(p, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return syncDir(parent)
	}
	return nil
}

func (d osFiles) SyncDir(dir string) error { return syncDir(d.path(dir)) }

func syncDir(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d osFiles) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for range 5 {
		// Whoever asks Locked holds the lock for an instant.
		if err = lockFileOf(f); !errors.Is(err, ErrLocked) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Locked reports whether some process writes the log directory.
func Locked(dir string) bool {
	f, err := os.Open(osFiles(dir).path(lockFile))
	if err != nil {
		return false
	}
	locked := lockedBySomebody(f)
	return f.Close() == nil && locked
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return syncData(f.File) }
