package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"net/http"

	"github.com/fxamacker/cbor/v2"
)

// pageParam carries a cursor. A page link has no other parameter.
const pageParam = "_page"

// cursor is where a page begins. It is sealed, so that what somebody searched for
// with POST does not turn up in the URL of the second page, and so that nobody can
// make one up.
type cursor struct {
	Query string `cbor:"1,keyasint"` // the parameters of the search or history, URL-encoded
	After int64  `cbor:"2,keyasint"` // the key, or version number, that the last page ended with
}

// cursorSeal reads the file's own secret, made when first needed: links stay good
// when the store is restarted.
func cursorSeal(ctx context.Context, d *database) (cipher.AEAD, error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails
	if _, err := d.ExecContext(ctx, `INSERT OR IGNORE INTO secret (name, value) VALUES ('cursor', ?)`, fresh); err != nil {
		return nil, err
	}
	var secret []byte
	if err := d.QueryRowContext(ctx, `SELECT value FROM secret WHERE name = 'cursor'`).Scan(&secret); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealCursor makes a cursor's text; about says which path it is for.
func (s *Store) sealCursor(c cursor, about string) (string, error) {
	plain, err := cbor.Marshal(c)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.cursors.Seal(nil, nil, plain, []byte(about))), nil
}

// openCursor reads what sealCursor wrote for the same path, and nothing else.
func (s *Store) openCursor(text, about string) (cursor, error) {
	var c cursor
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil {
		var plain []byte
		if plain, err = s.cursors.Open(nil, nil, sealed, []byte(about)); err == nil {
			err = cbor.Unmarshal(plain, &c)
		}
	}
	if err != nil {
		return cursor{}, &problem{status: http.StatusBadRequest, code: "value", text: "this page link was not made here, or not for this", expression: "http." + pageParam}
	}
	return c, nil
}
