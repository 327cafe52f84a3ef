package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData flushes content and length, and spares the journal the times.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
