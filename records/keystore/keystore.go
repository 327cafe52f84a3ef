// Package keystore keeps the few secrets that a role must find again after a
// restart: a custodian's share, signing keys, keys of the index.
//
// [Files] keeps them in a directory, for development and the demonstration;
// [Vault] in HashiCorp Vault, for production. Both promise the same, and
// keystoretest holds them to it:
//
//   - what [Keystore.Save] acknowledged is there after a crash, whole, and what
//     it did not finish is not there in part;
//   - a secret that this store has not seen is never overwritten: two processes
//     that both make a key, or both replace one, cannot lose either without
//     [ErrConflict];
//   - errors name the secret and never hold a part of it.
//
// # What it leaves to others
//
// Files are not encrypted: who reads the disk has the keys, and the package can
// do no more than refuse to work with files that others may read. Neither store
// keeps anything from the administrator of the machine, or of Vault. Deleting is
// not offered, since a copy in a backup or an older version would outlive it.
package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Keystore keeps secrets by name. Implementations are safe for concurrent use.
type Keystore interface {
	// Load answers with the secret, which the caller clears when done, or
	// with [ErrNotFound].
	Load(ctx context.Context, name string) ([]byte, error)

	// Save makes the secret, or replaces the one that this store has loaded
	// or saved last under that name. It is durable on return. If another is
	// there, the error is [ErrConflict] and nothing has changed: load it, and
	// think. Saving once more what is there already succeeds.
	Save(ctx context.Context, name string, secret []byte) error
}

var (
	// ErrNotFound is returned when there is no secret of that name.
	ErrNotFound = errors.New("secret not found")
	// ErrConflict is returned when a secret would overwrite one that this
	// store has not seen.
	ErrConflict = errors.New("another secret is there")
	// ErrName is returned for a name that is not 1 to 64 lower-case letters,
	// digits, dots and hyphens, beginning and ending with a letter or digit.
	ErrName = errors.New("invalid name of a secret")
	// ErrSize is returned for a secret that is empty or exceeds [MaxSize].
	ErrSize = errors.New("invalid size of a secret")
	// ErrExposed is returned by [Files] for a directory or file that others
	// on the machine may read or write.
	ErrExposed = errors.New("open to other users")
	// ErrSealed is returned by [Vault] while Vault is sealed: an operator has
	// to unseal it, and until then asking again is no use.
	ErrSealed = errors.New("vault is sealed")
	// ErrDenied is returned by [Vault] when the credentials, or what they
	// allow, do not suffice.
	ErrDenied = errors.New("denied by vault")
	// ErrUnavailable is returned by [Vault] when no usable answer came: a
	// secret that was being saved may or may not be there.
	ErrUnavailable = errors.New("vault is unavailable")
)

// MaxSize is the size of the largest secret, in bytes.
const MaxSize = 64 << 10

func checkName(name string) error {
	plain := func(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' }
	odd := strings.ContainsFunc(name, func(r rune) bool { return !plain(r) && r != '-' && r != '.' })
	if name == "" || len(name) > 64 || odd || !plain(rune(name[0])) || !plain(rune(name[len(name)-1])) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

func checkSecret(name string, secret []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(secret) == 0 || len(secret) > MaxSize {
		return fmt.Errorf("%w: %s has %d bytes", ErrSize, name, len(secret))
	}
	return nil
}
