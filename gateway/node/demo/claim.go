package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wardkey/wardkey/chain/disk"
)

// claim makes a directory ours, from before its first file is written until the
// closer is closed, and says whether it has served before. One that somebody
// else serves, or that is somebody else's altogether, is refused and left exactly
// as it is.
func claim(dir string) (_ io.Closer, again bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make directory: %w", err)
	}
	lock, err := lockDir(dir)
	if errors.Is(err, disk.ErrLocked) {
		return nil, false, fmt.Errorf("%s is in use by another demonstration: %w", dir, err)
	}
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if again, err = used(dir); err != nil {
		return nil, false, err
	}
	if err := unserved(dir); err != nil {
		return nil, false, err
	}
	// Whoever waits for demo.json must not find that of one that was killed.
	return lock, again, withdraw(dir)
}

// withdraw removes demo.json: nothing that it says is true any more.
func withdraw(dir string) error {
	if err := os.Remove(filepath.Join(dir, documentFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", documentFile, err)
	}
	return nil
}

// changing are the files that are written again each time a directory is served.
func changing() []string { return []string{gatewayFile, custodianFileGlob, trustFile, pocketFile} }

// founding is everything that a new directory is filled with.
func founding() []string {
	return append(changing(), committeeFile, "*.pem", "*.log", "keys", "log", "gateway", "store", "custodian-[0-9]")
}

// A snapshot is what files held, by path.
type snapshot map[string][]byte

// remember takes a snapshot of the changing files. A start that fails puts them
// back: no other port is left behind, and no address in the trust file under
// which nobody ever signed in.
func remember(dir string) (snapshot, error) {
	s := snapshot{}
	return s, matching(dir, changing(), func(path string) error {
		data, err := os.ReadFile(path)
		s[path] = data
		return err
	})
}

func (s snapshot) restore() error {
	var errs []error
	for path, data := range s {
		if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, data) {
			continue
		}
		errs = append(errs, replace(path, data, 0o600))
	}
	return errors.Join(errs...)
}

// unfound empties the directory of a hospital that never opened, which was empty
// when it was claimed, so that the next start finds it so.
func unfound(dir string) error { return matching(dir, founding(), os.RemoveAll) }

func matching(dir string, patterns []string, act func(path string) error) error {
	for _, pattern := range patterns {
		// Glob would take what is special in the directory's own name for a pattern.
		names, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return fmt.Errorf("look for %s: %w", pattern, err)
		}
		for _, name := range names {
			if err := act(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}
