//go:build !unix

package disk

import (
	"errors"
	"os"
)

// Without advisory locks nothing keeps two writers apart, so there is none.
func lockFileOf(*os.File) error { return errors.ErrUnsupported }

func lockedBySomebody(*os.File) bool { return false }
