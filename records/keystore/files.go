package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// Files is a [Keystore] in a directory: a file of mode 0600 for each secret, named
// like it, in a directory of mode 0700. One process at a time should replace
// secrets in it; making one is safe among several.
type Files struct {
	root *os.Root

	mu   sync.Mutex                   // guards seen, and the order of saves
	seen map[string][sha256.Size]byte // digest of what was last loaded or saved
}

var _ Keystore = (*Files)(nil)

// OpenFiles opens the directory, making it if needed. A directory that others
// may enter is refused with [ErrExposed] rather than quietly mended: what it
// holds may have been read. Close it after use.
func OpenFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make key store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = checkMode(dir, info, fs.ModeDir)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Files{root: root, seen: make(map[string][sha256.Size]byte)}, nil
}

// Close releases the directory. Nothing is pending.
func (f *Files) Close() error { return f.root.Close() }

// Load reads a secret. Besides [ErrNotFound] the error may be [ErrExposed].
func (f *Files) Load(_ context.Context, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	secret, err := f.read(name)
	if errors.Is(err, ErrNotFound) {
		delete(f.seen, name)
	}
	if err != nil {
		return nil, err
	}
	f.seen[name] = sha256.Sum256(secret)
	return secret, nil
}

// Save writes beside, syncs, and moves into place: there is never half a secret.
func (f *Files) Save(_ context.Context, name string, secret []byte) error {
	if err := checkSecret(name, secret); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()

	place := f.root.Rename
	switch current, err := f.read(name); {
	case errors.Is(err, ErrNotFound):
		place = f.root.Link // which, unlike a rename, never replaces
	case err != nil:
		return err
	case bytes.Equal(current, secret):
		f.seen[name] = sha256.Sum256(secret)
		return f.sync() // whoever wrote it may have crashed just before
	case f.seen[name] != sha256.Sum256(current):
		return fmt.Errorf("save %s: %w", name, ErrConflict)
	}
	if err := f.put(name, secret, place); err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	f.seen[name] = sha256.Sum256(secret)
	return nil
}

// put writes a temporary file and gives it its name. Leftovers of a crash begin
// with a dot, as no secret's name does.
func (f *Files) put(name string, secret []byte, place func(from, to string) error) (err error) {
	temporary := ".new-" + rand.Text()
	file, err := f.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { // gone after a rename, and superfluous after a link
		if gone := f.root.Remove(temporary); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	_, err = file.Write(secret)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := place(temporary, name); errors.Is(err, fs.ErrExist) {
		return ErrConflict
	} else if err != nil {
		return err
	}
	return f.sync()
}

// sync makes the names in the directory durable.
func (f *Files) sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *Files) read(name string) ([]byte, error) {
	// Looked at before it is opened, so that a pipe cannot make this wait.
	info, err := f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	if err := checkMode(name, info, 0); err != nil {
		return nil, err
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	secret, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return secret, checkSecret(name, secret)
}

// checkMode wants a plain file or a directory that is its owner's alone.
func checkMode(name string, info fs.FileInfo, kind fs.FileMode) error {
	if info.Mode().Type() != kind {
		return fmt.Errorf("%s: unexpected kind of file %v", name, info.Mode())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %v: %w", name, info.Mode().Perm(), ErrExposed)
	}
	return nil
}
