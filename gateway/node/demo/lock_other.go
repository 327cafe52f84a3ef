//go:build !unix

package demo

import (
	"errors"
	"io"
)

// Without advisory locks the log has no writer either.
func lockDir(string) (io.Closer, error) { return nil, errors.ErrUnsupported }
