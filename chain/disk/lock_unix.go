//go:build unix

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFileOf takes an exclusive lock that ends with the open file, also when the
// process is killed.
func lockFileOf(f *os.File) error {
	return flock(f, unix.LOCK_EX)
}

// lockedBySomebody reports whether an exclusive lock is held. It looks with a
// shared one, which two that look do not notice of each other.
func lockedBySomebody(f *os.File) bool {
	return errors.Is(flock(f, unix.LOCK_SH), ErrLocked)
}

func flock(f *os.File, how int) error {
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}
